//! Each program of `conformance/`, on each ABI: in a zone of brand `linux` at each of its levels, in one of
//! brand `native`, and in bare namespaces on the host. What is expected stands in the program's first lines.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{How, Zoned, compile};

/// What a program does where nothing is repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Native {
    Fails,
    Passes,
    Any,
}

#[derive(Debug, Clone)]
struct Program {
    source: PathBuf,
    name: String,
    kernels: Vec<String>,
    abis: Vec<String>,
    flags: Vec<String>,
    native: Native,
}

impl Program {
    fn read(source: &Path) -> Self {
        let text = fs::read_to_string(source).unwrap_or_else(|e| panic!("read {}: {e}", source.display()));
        let words = |key: &str| -> Vec<String> {
            let prefix = format!("// {key}: ");
            let line = text.lines().find_map(|l| l.strip_prefix(&prefix)).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        };
        let native = match words("native").first().map(String::as_str) {
            Some("fails") => Native::Fails,
            Some("passes") => Native::Passes,
            Some("any") => Native::Any,
            other => panic!("{}: `// native:` is {other:?}", source.display()),
        };
        let (kernels, abis) = (words("kernel"), words("abi"));
        assert!(!kernels.is_empty() && !abis.is_empty(), "{}: no kernel or no abi", source.display());
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { source: source.into(), name, kernels, abis, flags: words("cflags"), native }
    }

    fn trials(&self, zoned: &Shared) -> Vec<Trial> {
        let mut trials = Vec::new();
        for abi in &self.abis {
            for kernel in &self.kernels {
                let (p, abi, kernel, zoned) = (self.clone(), abi.clone(), kernel.clone(), zoned.clone());
                let name = format!("{}::{abi}::linux_{kernel}", self.name);
                trials.push(Trial::test(name, move || p.in_zone(&abi, Some(&kernel), &zoned)));
            }
            let (p, abi_, zoned) = (self.clone(), abi.clone(), zoned.clone());
            trials.push(Trial::test(format!("{}::{abi}::native", self.name), move || {
                p.in_zone(&abi_, None, &zoned)
            }));
            let (p, abi_) = (self.clone(), abi.clone());
            trials.push(Trial::test(format!("{}::{abi}::host", self.name), move || p.on_host(&abi_)));
        }
        trials
    }

    /// Brand `linux` at a level, or brand `native`.
    fn in_zone(&self, abi: &str, kernel: Option<&str>, zoned: &Shared) -> Result<(), Failed> {
        let program = compile(&self.source, abi, &self.flags).map_err(|e| format!("{e:#}"))?;
        let (folder, file) = (program.parent().ok_or("it stands in a folder")?, program.file_name());
        let bind = format!("{}:/mnt", folder.display());
        let inside = format!("/mnt/{}", file.unwrap_or_default().to_string_lossy());
        let mut words = vec!["run", "--bind", &bind];
        match kernel {
            Some(k) => words.extend(["--brand", "linux", "--kernel", k]),
            None => words.extend(["--brand", "native"]),
        }
        if kernel.is_some() && abi == "i386" {
            words.push("arch=i686");
        }
        words.extend(["--", &inside, kernel.unwrap_or(&self.kernels[0])]);
        let outcome = zoned.get()?.zonectl(&words);
        let native = if kernel.is_some() { Native::Passes } else { self.native };
        judge(native, outcome.status, &outcome.stdout, &outcome.to_string())
    }

    /// The oracle: today's kernel, without any zone. In namespaces of its own, where it can set nothing.
    fn on_host(&self, abi: &str) -> Result<(), Failed> {
        let program = compile(&self.source, abi, &self.flags).map_err(|e| format!("{e:#}"))?;
        let output = Command::new("timeout")
            .args([
                "60",
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--uts",
                "--ipc",
                "--net",
            ])
            .args([
                "--mount-proc",
                "sh",
                "-c",
                "exec 3<\"$0\" && mount -t tmpfs tmpfs /tmp && exec /proc/self/fd/3 \"$1\"",
            ])
            .arg(&program)
            .arg(&self.kernels[0])
            .output()
            .map_err(|e| format!("run unshare: {e}"))?;
        let status = output.status.code().or(output.status.signal().map(|s| 128 + s));
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        judge(self.native, status, &stdout, &format!("status {status:?}\n{stdout}{stderr}"))
    }
}

/// A failure counts only when the program says what it expected: a crash or a missing program is none.
fn judge(native: Native, status: Option<i32>, stdout: &str, story: &str) -> Result<(), Failed> {
    let passed = status == Some(0) && stdout.lines().any(|l| l.starts_with("ok "));
    let failed = status == Some(1) && stdout.lines().any(|l| l.starts_with("FAIL: "));
    match native {
        Native::Passes if !passed => Err(format!("expected it to pass\n{story}").into()),
        Native::Fails if !failed => Err(format!("expected it to fail, with its reasons\n{story}").into()),
        Native::Any if !passed && !failed => Err(format!("expected a verdict\n{story}").into()),
        _ => Ok(()),
    }
}

/// One zoned for all, started by the first program that needs it.
#[derive(Clone, Default)]
struct Shared(Arc<OnceLock<Result<Zoned, String>>>);

impl Shared {
    fn get(&self) -> Result<&Zoned, Failed> {
        let zoned = self.0.get_or_init(|| Zoned::try_start(How::default()).map_err(|e| format!("{e:#}")));
        zoned.as_ref().map_err(|e| format!("start zoned: {e}").into())
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each program runs in a zone of its own; more at once than this only makes the slow ones slower.
    arguments.test_threads.get_or_insert(4);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut sources: Vec<_> =
        fs::read_dir(&folder).expect("conformance/ is there").flatten().map(|e| e.path()).collect();
    sources.retain(|p| p.extension().is_some_and(|e| e == "c"));
    sources.sort();
    let zoned = Shared::default();
    let trials = sources.iter().flat_map(|s| Program::read(s).trials(&zoned)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Its Drop fails the run when a zone left something behind.
    drop(zoned);
    conclusion.exit_code()
}
