//! /proc/cpuinfo.

use super::{Arrival, Host, is_younger};
use crate::level::Level;
use crate::task::World;

/// Lines that came after the first i386 kernels of 2.2, by release (arch/x86/kernel/cpu/proc.c and its forebears).
const YOUNG: &[Arrival] = &[
    (
        Level::new(2, 6, 0),
        &["clflush size", "cache_alignment", "address sizes", "TLB size", "power management"],
    ),
    (Level::new(2, 6, 9), &["physical id", "siblings"]),
    (Level::new(2, 6, 11), &["core id", "cpu cores"]),
    (Level::new(2, 6, 26), &["apicid", "initial apicid"]),
    (Level::new(3, 3, 0), &["microcode"]),
    (Level::new(3, 18, 0), &["bugs"]),
    (Level::new(5, 8, 0), &["vmx flags"]),
];

/// What a kernel of 2.4 knew of `flags` (arch/i386/kernel/setup.c).
const FLAGS_24: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 pn clflush dts acpi \
    mmx fxsr sse sse2 ss ht tm ia64 syscall mp mmxext lm 3dnowext 3dnow";

pub(super) fn cpuinfo(_: &World, level: Level, host: Host<'_>) -> String {
    let young = |key: &str| is_younger(YOUNG, key, level);
    let mut out = String::new();
    for line in host("cpuinfo").lines() {
        let (key, value) = line.split_once(':').map_or((line.trim(), ""), |(k, v)| (k.trim(), v.trim()));
        if young(key) {
            continue;
        }
        if level < Level::new(2, 6, 0) {
            out.push_str(&old(level, key, value));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// A line as get_cpuinfo of arch/i386 had it, with those that it had before it.
fn old(level: Level, key: &str, value: &str) -> String {
    let line = |key: &str, value: &str| {
        // A key is filled up with tabs to 16 columns.
        let tabs = "\t".repeat((2usize).saturating_sub(key.len() / 8));
        format!("{key}{tabs}: {value}\n")
    };
    let first = level < Level::new(2, 2, 0);
    match key {
        "" => "\n".to_owned(),
        // 2.0 told of the family as `cpu : 686`, and had no name for the model and no clock.
        "cpu family" if first => line("cpu", &format!("{}86", value.parse::<u32>().unwrap_or(6).clamp(3, 6))),
        "model name" | "cpu MHz" | "cache size" if first => String::new(),
        "cpuid level" if first => line("cpuid", "yes"),
        // Its place is before what tells of the processor's faults.
        "fpu" => {
            let faults: &[&str] = match () {
                () if first => &["fdiv_bug", "hlt_bug"],
                () if level < Level::new(2, 4, 0) => {
                    &["fdiv_bug", "hlt_bug", "sep_bug", "f00f_bug", "coma_bug"]
                }
                () => &["fdiv_bug", "hlt_bug", "f00f_bug", "coma_bug"],
            };
            let faults: String = faults.iter().map(|fault| line(fault, "no")).collect();
            faults + &line(key, value)
        }
        "flags" => {
            let known = |flag: &&str| FLAGS_24.split(' ').any(|known| known == *flag);
            line(key, &value.split(' ').filter(known).collect::<Vec<_>>().join(" "))
        }
        _ => line(key, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::proc::world;

    const NOW: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n\
        model name\t: AMD EPYC\nstepping\t: 1\nmicrocode\t: 0x1\ncpu MHz\t\t: 2596.146\ncache size\t: 1024 KB\n\
        physical id\t: 0\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 28\nwp\t\t: yes\n\
        flags\t\t: fpu sse2 avx512f ht\nbugs\t\t: spectre_v1\nbogomips\t: 5192.29\nclflush size\t: 64\n\
        power management:\n\n";

    fn at(level: &str) -> String {
        let world = world(level, "i686");
        cpuinfo(&world, world.level.unwrap(), &|_| NOW.to_owned())
    }

    #[test]
    fn the_form_of_2_4() {
        assert_eq!(
            at("2.4.20"),
            "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\
             stepping\t: 1\ncpu MHz\t\t: 2596.146\ncache size\t: 1024 KB\nfdiv_bug\t: no\nhlt_bug\t\t: no\n\
             f00f_bug\t: no\ncoma_bug\t: no\nfpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 28\nwp\t\t: yes\n\
             flags\t\t: fpu sse2 ht\nbogomips\t: 5192.29\n\n"
        );
    }

    #[test]
    fn the_form_of_2_0() {
        let text = at("2.0.36");
        assert!(
            text.starts_with("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu\t\t: 686\nmodel\t\t: 17\n"),
            "{text}"
        );
        assert!(text.contains("cpuid\t\t: yes\n") && !text.contains("model name"), "{text}");
    }

    #[test]
    fn later_forms_are_the_hosts_without_what_is_younger() {
        let text = at("2.6.18");
        assert!(text.contains("flags\t\t: fpu sse2 avx512f ht\n") && text.contains("physical id"), "{text}");
        assert!(!text.contains("bugs") && !text.contains("microcode"), "{text}");
        assert_eq!(at("6.1"), NOW);
    }
}
