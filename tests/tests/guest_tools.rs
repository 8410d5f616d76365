//! Each real userland's own shell, ps, top, free, df, mount, ls, tar, date and ifconfig, at the level of its time: what
//! they print makes sense. Old tools parse /proc by position, so a form of another age shows here first.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{GUESTS, Guest, Zoned};

const SCRIPT: &str = "echo @ps; ps; echo @top; (top -b -n 1 || top -n 1) </dev/null 2>&1; echo @free; free; echo @df; df; \
    echo @mount; mount; echo @ls; ls -lR / 2>/dev/null | grep -v ' /proc/' | grep -c '?'; \
    echo @tar; mkdir -p /tmp/t/in && echo inside >/tmp/t/in/f && tar cf /tmp/t.tar -C /tmp t && \
    rm -r /tmp/t && tar xf /tmp/t.tar -C /tmp && cat /tmp/t/in/f; echo @date; date +%s; echo @ifconfig; ifconfig; \
    echo @end";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = GUESTS.into_iter().map(|guest| {
        let missing = guest.tarball().err();
        if let Some(why) = &missing {
            eprintln!("SKIPPED {}: {why}", guest.name);
        }
        Trial::test(guest.name, move || tools_make_sense(guest)).with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn tools_make_sense(guest: Guest) -> Result<(), Failed> {
    let zoned = Zoned::start();
    let source = format!("tar:{}", guest.tarball()?.display());
    let text =
        zoned.zonectl(&["run", "--kernel", guest.kernel, "--root", &source, "--", "sh", "-c", SCRIPT]).ok();
    let section = |name: &str| {
        let from = text.find(&format!("@{name}\n")).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let rest = &text[from + name.len() + 2..];
        rest[..rest.find("\n@").map_or(rest.len(), |end| end + 1)].to_owned()
    };

    let ps = section("ps");
    let pids: Vec<&str> = ps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(pids.contains(&"1") && pids.len() >= 3, "{ps}");

    let total = memory();
    let top = section("top");
    let mem =
        top.lines().find(|line| line.starts_with("Mem:")).unwrap_or_else(|| panic!("no Mem: in\n{top}"));
    // `Mem: 4966608K used, 19717476K free, …`
    let figures: Vec<u64> = mem.split(", ").map(digits).collect();
    assert!(close(figures[0] + figures[1], total), "{mem}: used and free are not {total}");
    assert!(figures.iter().all(|&figure| figure <= total), "{mem}");
    let cpu =
        top.lines().find(|line| line.starts_with("CPU:")).unwrap_or_else(|| panic!("no CPU: in\n{top}"));
    let shares: Vec<f64> = cpu.split('%').filter_map(|p| p.rsplit(' ').next()?.parse().ok()).collect();
    assert!(shares.len() >= 4 && shares.iter().all(|s| (0.0..=100.0).contains(s)), "{cpu}");
    let sum: f64 = shares.iter().sum();
    // Time that another machine took from this one is in none of them.
    assert!((50.0..=110.0).contains(&sum), "{cpu}: {sum}");

    let free = section("free");
    let mem =
        free.lines().find(|line| line.starts_with("Mem:")).unwrap_or_else(|| panic!("no Mem: in\n{free}"));
    let figures: Vec<u64> = mem.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    assert!(close(figures[0], total) && figures[1] + figures[2] <= figures[0], "{free}");

    for line in section("df").lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let percent: u64 =
            words[words.len() - 2].trim_end_matches('%').parse().map_err(|e| format!("{line}: {e}"))?;
        assert!(
            percent <= 100 && !line.contains(" -") && !words[words.len() - 1].starts_with("/proc"),
            "{line}"
        );
    }
    let mount = section("mount");
    assert!(mount.contains(" on / type ") && mount.contains(" on /proc type proc"), "{mount}");
    assert_eq!(section("ls").trim(), "0", "names or numbers that ls cannot tell");
    assert_eq!(section("tar"), "inside\n");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
    let date: u64 = section("date").trim().parse().map_err(|e| format!("date: {e}"))?;
    assert!(now.abs_diff(date) < 60, "{date} is not {now}");
    let ifconfig = section("ifconfig");
    assert!(ifconfig.contains("127.0.0.1") && ifconfig.contains("LOOPBACK RUNNING"), "{ifconfig}");
    Ok(())
}

/// KiB of memory on this host.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo is there");
    digits(text.lines().next().unwrap_or_default())
}

/// The first number in a text.
fn digits(text: &str) -> u64 {
    let from = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
    let rest = &text[from..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().unwrap_or(0)
}

/// Equal but for what tools round.
fn close(a: u64, b: u64) -> bool {
    a.abs_diff(b) <= b / 100
}
