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

/// The levels that a program with `// kernel: all` runs at; `host` is the host's own.
const ALL: &[&str] = &["2.2.26", "2.4.20", "2.6.18", "2.6.32", "3.10", "4.18", "5.10", HOST];

const HOST: &str = "host";

/// A case that fails where this says, and is known to.
#[derive(Debug, Clone)]
struct Gap {
    case: String,
    abi: String,
    level: String,
    reason: String,
}

#[derive(Debug, Clone)]
struct Program {
    source: PathBuf,
    name: String,
    kernels: Vec<String>,
    abis: Vec<String>,
    flags: Vec<String>,
    /// Further words for `zonectl run`.
    options: Vec<String>,
    native: Native,
    /// Its cases, where it is a program of many.
    cases: Vec<String>,
    gaps: Vec<Gap>,
}

/// Where a program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a zone of brand `linux` at a level.
    Linux,
    /// In a zone of brand `native`.
    Native,
    /// The oracle: today's kernel, without any zone. In namespaces of its own, where it can set nothing.
    Outside,
}

/// What a run said.
#[derive(Debug)]
struct Told {
    status: Option<i32>,
    stdout: String,
    story: String,
}

/// One run, shared by the trials of all its cases.
type Run = Arc<OnceLock<Result<Told, String>>>;

impl Program {
    fn read(source: &Path) -> Self {
        let text = fs::read_to_string(source).unwrap_or_else(|e| panic!("read {}: {e}", source.display()));
        let lines = |key: &str| {
            let prefix = format!("// {key}: ");
            text.lines().filter_map(move |l| l.strip_prefix(&prefix).map(str::to_owned)).collect::<Vec<_>>()
        };
        let words = |key: &str| -> Vec<String> {
            let line = lines(key).into_iter().next().unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        };
        let native = match words("native").first().map(String::as_str) {
            Some("fails") => Native::Fails,
            Some("passes") => Native::Passes,
            Some("any") => Native::Any,
            other => panic!("{}: `// native:` is {other:?}", source.display()),
        };
        let (mut kernels, abis) = (words("kernel"), words("abi"));
        assert!(!kernels.is_empty() && !abis.is_empty(), "{}: no kernel or no abi", source.display());
        if kernels == ["all"] {
            kernels = ALL.iter().map(|&k| k.to_owned()).collect();
        }
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let case = |line: &str| Some(line.strip_prefix("CASE(")?.split(')').next()?.to_owned());
        let cases: Vec<_> = text.lines().filter_map(case).collect();
        let gap = |line: String| {
            let mut words = line.splitn(4, ' ').map(str::to_owned);
            let mut next = || words.next().unwrap_or_else(|| panic!("{}: gap: {line}", source.display()));
            Gap { case: next(), abi: next(), level: next(), reason: next() }
        };
        let gaps: Vec<_> = lines("gap").into_iter().map(gap).collect();
        for gap in &gaps {
            let there = gap.case == "*" || cases.contains(&gap.case);
            assert!(there, "{}: no case {}", source.display(), gap.case);
        }
        let (flags, options) = (words("cflags"), words("options"));
        Self { source: source.into(), name, kernels, abis, flags, options, native, cases, gaps }
    }

    fn trials(&self, zoned: &Shared) -> Vec<Trial> {
        let mut trials = Vec::new();
        for abi in &self.abis {
            let linux = self.kernels.iter().map(|k| (Place::Linux, k.as_str(), format!("linux_{k}")));
            let others = [(Place::Native, "native"), (Place::Outside, "host")];
            let first = self.kernels[0].as_str();
            let others = others.map(|(place, label)| (place, first, label.to_owned()));
            for (place, kernel, label) in linux.chain(others) {
                let run = Run::default();
                let cases: Vec<_> = match self.cases.as_slice() {
                    [] => vec![None],
                    cases => cases.iter().map(|c| Some(c.clone())).collect(),
                };
                for case in cases {
                    let below = case.as_ref().map_or_else(String::new, |c| format!("::{c}"));
                    let name = format!("{}{below}::{abi}::{label}", self.name);
                    let (p, run, zoned) = (self.clone(), Arc::clone(&run), zoned.clone());
                    let (abi, kernel) = (abi.clone(), kernel.to_owned());
                    trials.push(Trial::test(name, move || {
                        let told = run.get_or_init(|| p.run(place, &abi, &kernel, &zoned));
                        let told = told.as_ref().map_err(|e| Failed::from(e.as_str()))?;
                        p.judge(place, &abi, &kernel, case.as_deref(), told)
                    }));
                }
            }
        }
        trials
    }

    fn run(&self, place: Place, abi: &str, kernel: &str, zoned: &Shared) -> Result<Told, String> {
        let program = compile(&self.source, abi, &self.flags).map_err(|e| format!("{e:#}"))?;
        match place {
            Place::Outside => run_outside(&program, kernel),
            Place::Linux | Place::Native => self.run_in_zone(&program, place, abi, kernel, zoned),
        }
    }

    fn run_in_zone(
        &self,
        program: &Path,
        place: Place,
        abi: &str,
        kernel: &str,
        zoned: &Shared,
    ) -> Result<Told, String> {
        let (folder, file) = (program.parent().ok_or("it stands in a folder")?, program.file_name());
        let bind = format!("{}:/mnt", folder.display());
        let inside = format!("/mnt/{}", file.unwrap_or_default().to_string_lossy());
        let mut words = vec!["run", "--bind", &bind];
        if place == Place::Linux {
            words.extend(["--brand", "linux"]);
            if kernel != HOST {
                words.extend(["--kernel", kernel]);
            }
            if abi == "i386" {
                words.push("arch=i686");
            }
            words.extend(self.options.iter().map(String::as_str));
        } else {
            words.extend(["--brand", "native"]);
        }
        words.extend(["--", &inside, kernel]);
        let outcome = zoned.get()?.zonectl(&words);
        Ok(Told { status: outcome.status, story: outcome.to_string(), stdout: outcome.stdout })
    }

    fn judge(
        &self,
        place: Place,
        abi: &str,
        kernel: &str,
        case: Option<&str>,
        told: &Told,
    ) -> Result<(), Failed> {
        let wanted = if place == Place::Linux { Native::Passes } else { self.native };
        let (status, stdout) = match case {
            None => (told.status, told.stdout.as_str()),
            Some(case) => section(case, told)?,
        };
        let fits = |pattern: &str, what: &str| pattern == "*" || pattern == what;
        let gap = self.gaps.iter().find(|gap| {
            place == Place::Linux
                && fits(&gap.case, case.unwrap_or("*"))
                && fits(&gap.abi, abi)
                && fits(&gap.level, kernel)
        });
        // A failure counts only when the program says what it expected: a crash or a missing program is none.
        let said = stdout.lines().any(|l| l.starts_with("FAIL: "));
        let failed = status == Some(1) && said;
        let passed = match case {
            None => status == Some(0) && stdout.lines().any(|l| l.starts_with("ok ")),
            Some(_) => status == Some(77) || status == Some(0) && !said,
        };
        let story = &told.story;
        match (gap, wanted) {
            (Some(gap), _) if passed => {
                Err(format!("a known gap is none any more; take its line out: {}", gap.reason).into())
            }
            (Some(gap), _) if !failed => Err(format!("more than the gap: {}\n{story}", gap.reason).into()),
            (Some(_), _) => Ok(()),
            (None, Native::Passes) if !passed => Err(format!("expected it to pass\n{story}").into()),
            (None, Native::Fails) if !failed => {
                Err(format!("expected it to fail, with its reasons\n{story}").into())
            }
            (None, Native::Any) if !passed && !failed => Err(format!("expected a verdict\n{story}").into()),
            _ => Ok(()),
        }
    }
}

/// What a program of many cases said of one, and how that one ended.
fn section<'a>(case: &str, told: &'a Told) -> Result<(Option<i32>, &'a str), Failed> {
    let ended = format!("end {case} ");
    let missing = || Failed::from(format!("{case} did not end\n{}", told.story));
    let from = told.stdout.find(&format!("case {case}\n")).ok_or_else(missing)?;
    let rest = &told.stdout[from..];
    let to = rest.find(&ended).ok_or_else(missing)?;
    let code = rest[to + ended.len()..].lines().next().and_then(|n| n.parse().ok());
    Ok((code, &rest[..to]))
}

fn run_outside(program: &Path, kernel: &str) -> Result<Told, String> {
    let output = Command::new("timeout")
        .args(["120", "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--uts", "--ipc"])
        .args(["--net", "--mount-proc", "sh", "-c"])
        .arg("exec 3<\"$0\" && mount -t tmpfs tmpfs /tmp && exec /proc/self/fd/3 \"$1\"")
        .arg(program)
        .arg(kernel)
        .output()
        .map_err(|e| format!("run unshare: {e}"))?;
    let status = output.status.code().or(output.status.signal().map(|s| 128 + s));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let story = format!("status {status:?}\n{stdout}{stderr}");
    Ok(Told { status, stdout, story })
}

/// One zoned for all, started by the first program that needs it.
#[derive(Clone, Default)]
struct Shared(Arc<OnceLock<Result<Zoned, String>>>);

impl Shared {
    fn get(&self) -> Result<&Zoned, String> {
        let zoned = self.0.get_or_init(|| Zoned::try_start(How::default()).map_err(|e| format!("{e:#}")));
        zoned.as_ref().map_err(|e| format!("start zoned: {e}"))
    }
}

/// For a machine that has no compiler: the programs, where that machine will look for them.
fn compile_all(sources: &[PathBuf]) -> ExitCode {
    let programs = sources.iter().map(|s| Program::read(s));
    for program in programs {
        for abi in &program.abis {
            if let Err(e) = compile(&program.source, abi, &program.flags) {
                eprintln!("{} {abi}: {e:#}", program.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
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
    if std::env::var_os("ZONES_COMPILE_ONLY").is_some() {
        return compile_all(&sources);
    }
    let zoned = Shared::default();
    let trials = sources.iter().flat_map(|s| Program::read(s).trials(&zoned)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Its Drop fails the run when a zone left something behind.
    drop(zoned);
    conclusion.exit_code()
}
