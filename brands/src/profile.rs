//! Install hooks: what of a root's own files must be otherwise for it to boot as a zone. A server's files speak of
//! disks, serial lines and addresses that a zone does not have.
//!
//! A hook is a row of [`HOOKS`]: files, why, and a function from the old text to the new one. Whoever installs
//! carries them out, writes down what was there, and can take it back.

/// What a hook may know of the zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the zone is called.
    pub hostname: String,
    /// Name servers that the zone finds, and the domain that zones are in; none: nobody knows.
    pub name_servers: Vec<String>,
    /// See there.
    pub domain: String,
    /// Interfaces that are set up before the guest's init begins, so that its scripts must let them be.
    pub interfaces: Vec<String>,
}

/// A change of files.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// A word for it.
    pub name: &'static str,
    /// Why, in half a sentence.
    pub why: &'static str,
    /// Files below the root; a last component of `*` is all files of that folder.
    pub files: &'static [&'static str],
    /// Whether a file that is not there is as good as an empty one.
    pub makes: bool,
    /// The new text; `None` where the old one is right.
    pub change: fn(&str, &Facts) -> Option<String>,
}

/// All hooks, in their order.
pub const HOOKS: &[Hook] = &[
    Hook {
        name: "hostname",
        why: "the guest's scripts would call the zone by its old name",
        files: &["etc/hostname", "etc/HOSTNAME"],
        makes: false,
        change: hostname,
    },
    Hook {
        name: "hostname",
        why: "the guest's scripts would call the zone by its old name",
        files: &["etc/sysconfig/network", "etc/conf.d/hostname", "etc/rc.conf"],
        makes: false,
        change: hostname_of_scripts,
    },
    Hook {
        name: "hosts",
        why: "programs look up the zone's own name",
        files: &["etc/hosts"],
        makes: true,
        change: hosts,
    },
    Hook {
        name: "name-servers",
        why: "names of zones, and all others, are told by the bridge",
        files: &["etc/resolv.conf"],
        makes: true,
        change: name_servers,
    },
    Hook {
        name: "disks",
        why: "a zone has no disks: mounting and checking them would hold up its boot",
        files: &["etc/fstab"],
        makes: false,
        change: disks,
    },
    Hook {
        name: "serial-lines",
        why: "a zone has no serial lines: logins on them would end and begin without end",
        files: &["etc/inittab"],
        makes: false,
        change: serial_lines,
    },
    Hook {
        name: "network",
        why: "the interface is set up already, and has another address than the old one",
        files: &["etc/network/interfaces", "etc/network/interfaces.d/*"],
        makes: false,
        change: ifupdown,
    },
    Hook {
        name: "network",
        why: "the interface is set up already, and has another address than the old one",
        files: &["etc/sysconfig/network-scripts/*", "etc/sysconfig/network/*"],
        makes: false,
        change: ifcfg,
    },
];

/// Stands before what is taken out.
const MARK: &str = "#zone# ";

/// The text with each line as `each` has it; `None` where no line changed.
fn lines(text: &str, mut each: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut changed = false;
    let mut new = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        match each(body) {
            Some(other) => {
                changed = true;
                new.push_str(&other);
            }
            None => new.push_str(body),
        }
        new.push_str(end);
    }
    changed.then_some(new)
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn hostname(text: &str, facts: &Facts) -> Option<String> {
    let first = text.lines().find(|line| !is_comment(line)).map(str::trim);
    let is_it = first.is_some_and(|first| first == facts.hostname);
    (!is_it).then(|| format!("{}\n", facts.hostname))
}

/// `HOSTNAME=` of Red Hat's and Slackware's scripts, `hostname=` of OpenRC's, as shell assignments.
fn hostname_of_scripts(text: &str, facts: &Facts) -> Option<String> {
    lines(text, |line| {
        let (name, value) = line.trim_start().split_once('=')?;
        let new = format!("{name}=\"{}\"", facts.hostname);
        let is_it = value.trim().trim_matches(['"', '\'']) == facts.hostname;
        (matches!(name, "HOSTNAME" | "hostname") && !is_it).then_some(new)
    })
}

fn hosts(text: &str, facts: &Facts) -> Option<String> {
    let names = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1).any(|name| name == facts.hostname)
    };
    if facts.hostname.is_empty() || text.lines().any(names) {
        return None;
    }
    let own = format!("127.0.1.1\t{}\n", facts.hostname);
    if text.lines().all(is_comment) {
        return Some(format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}"));
    }
    let gap = if text.ends_with('\n') { "" } else { "\n" };
    Some(format!("{text}{gap}{own}"))
}

fn name_servers(text: &str, facts: &Facts) -> Option<String> {
    if facts.name_servers.is_empty() {
        return None;
    }
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let old: Vec<String> =
        text.lines().map(words).filter(|w| w.first().is_some_and(|w| w == "nameserver")).flatten().collect();
    if facts.name_servers.iter().all(|own| old.contains(own)) {
        return None;
    }
    let search = text.lines().map(words).find(|w| w.first().is_some_and(|w| w == "search" || w == "domain"));
    let mut domains: Vec<String> = search.unwrap_or_default().into_iter().skip(1).collect();
    if !domains.contains(&facts.domain) {
        domains.push(facts.domain.clone());
    }
    let rest = text.lines().filter(|line| {
        let word = line.split_whitespace().next().unwrap_or_default();
        !matches!(word, "nameserver" | "search" | "domain")
    });
    let servers = facts.name_servers.iter().map(|server| format!("nameserver {server}"));
    let search = format!("search {}", domains.join(" "));
    let all: Vec<String> = rest.map(str::to_owned).chain(servers).chain([search]).collect();
    Some(all.join("\n") + "\n")
}

/// Entries of fstab(5) for what only a machine has.
fn disks(text: &str, _: &Facts) -> Option<String> {
    let is_of_disk = |device: &str| {
        let named = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
        let is_node = device.starts_with("/dev/") && !device.starts_with("/dev/fuse") && device != "/dev/shm";
        is_node || named.iter().any(|word| device.starts_with(word))
    };
    lines(text, |line| {
        if is_comment(line) {
            return None;
        }
        let mut words = line.split_whitespace();
        let (device, place) = (words.next()?, words.next()?);
        // The root is there already; swap is the host's.
        (is_of_disk(device) || place == "/" || words.next() == Some("swap")).then(|| format!("{MARK}{line}"))
    })
}

/// Entries of inittab(5), sysvinit's and busybox's, for terminals that zones do not have.
fn serial_lines(text: &str, _: &Facts) -> Option<String> {
    const LINES: [&str; 7] = ["ttyS", "ttyAMA", "ttyUSB", "ttyO", "hvc", "xvc", "ttysclp"];
    let is_serial = |word: &str| {
        let word = word.strip_prefix("/dev/").unwrap_or(word);
        LINES.iter().any(|line| {
            let number = word.strip_prefix(line);
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    lines(text, |line| {
        let mut fields = line.splitn(4, ':');
        let (id, _, action, program) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let runs = matches!(action, "respawn" | "askfirst" | "once");
        let serial = is_serial(id) || program.split_whitespace().any(is_serial);
        (!is_comment(line) && runs && serial).then(|| format!("{MARK}{line}"))
    })
}

/// Stanzas of interfaces(5): what sets an interface of ours up by hand becomes `manual`, and what belongs to it a
/// comment.
fn ifupdown(text: &str, facts: &Facts) -> Option<String> {
    let mut within = false;
    lines(text, |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["iface", name, family, method, ..] => {
                let ours = facts.interfaces.iter().any(|own| own == name);
                within = ours && !matches!(method, "manual" | "dhcp" | "auto" | "loopback");
                within.then(|| format!("iface {name} {family} manual"))
            }
            ["auto" | "mapping" | "source" | "source-directory" | "rename", ..] => {
                within = false;
                None
            }
            [word, ..] if word.starts_with("allow-") || word.starts_with("no-auto-") => {
                within = false;
                None
            }
            _ => (within && !is_comment(line)).then(|| format!("{MARK}{line}")),
        }
    })
}

/// `ifcfg-eth0` of Red Hat's and SUSE's scripts: an address by hand, and a hardware address that the zone's
/// interface does not have.
fn ifcfg(text: &str, facts: &Facts) -> Option<String> {
    let value = |wanted: &str| {
        let mut values = text.lines().filter_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            (name == wanted).then(|| value.trim().trim_matches(['"', '\'']))
        });
        values.next_back().unwrap_or_default()
    };
    // Of SUSE's the name of the interface is in the file's alone: loopback is told by its address.
    let device = value("DEVICE");
    let ours = match device {
        "" => !value("IPADDR").starts_with("127."),
        device => facts.interfaces.iter().any(|own| own == device),
    };
    let protocol = value("BOOTPROTO");
    let by_hand = !matches!(protocol, "dhcp" | "dhcp4" | "dhcp6" | "bootp" | "auto4");
    if !ours || facts.interfaces.is_empty() || (protocol.is_empty() && value("IPADDR").is_empty()) {
        return None;
    }
    const ADDRESS: [&str; 12] = [
        "IPADDR",
        "NETMASK",
        "PREFIX",
        "PREFIXLEN",
        "NETWORK",
        "BROADCAST",
        "GATEWAY",
        "IPV6ADDR",
        "IPV6_DEFAULTGW",
        "REMOTE_IPADDR",
        "DNS1",
        "DNS2",
    ];
    lines(text, |line| {
        let (name, old) = line.trim_start().split_once('=')?;
        let is_hardware = matches!(name, "HWADDR" | "MACADDR" | "LLADDR");
        if is_hardware || by_hand && (ADDRESS.contains(&name) || name.starts_with("IPADDR")) {
            return Some(format!("{MARK}{line}"));
        }
        let is_none = old.trim().trim_matches(['"', '\'']) == "none";
        (name == "BOOTPROTO" && by_hand && !is_none).then(|| "BOOTPROTO=none".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            hostname: "web".into(),
            name_servers: vec!["10.88.0.1".into()],
            domain: "zones.internal".into(),
            interfaces: vec!["eth0".into()],
        }
    }

    /// What a hook makes of a text; done twice it is content.
    fn new(change: fn(&str, &Facts) -> Option<String>, old: &str) -> Option<String> {
        let new = change(old, &facts())?;
        assert_eq!(change(&new, &facts()), None, "{new}");
        Some(new)
    }

    #[test]
    fn names() {
        assert_eq!(new(hostname, "srv17\n").as_deref(), Some("web\n"));
        assert_eq!(new(hostname, "# as set by hand\nweb\n"), None);
        let old = "NETWORKING=yes\nHOSTNAME=srv17.example.org\nGATEWAY=192.168.7.1\n";
        let text = new(hostname_of_scripts, old).unwrap();
        assert_eq!(text, "NETWORKING=yes\nHOSTNAME=\"web\"\nGATEWAY=192.168.7.1\n");
        assert_eq!(
            new(hostname_of_scripts, "hostname=\"localhost\"\n").as_deref(),
            Some("hostname=\"web\"\n")
        );
        assert_eq!(new(hostname_of_scripts, "NETWORKING=yes\n"), None);
        assert_eq!(
            new(hosts, "127.0.0.1 localhost # web").as_deref(),
            Some("127.0.0.1 localhost # web\n127.0.1.1\tweb\n")
        );
        assert!(new(hosts, "").unwrap().starts_with("127.0.0.1\tlocalhost\n"));
        assert_eq!(new(hosts, "10.0.0.1 web\n"), None);
    }

    #[test]
    fn servers_of_names() {
        let old = "# by hand\nsearch example.org\nnameserver 192.168.7.1\noptions timeout:1\n";
        assert_eq!(
            new(name_servers, old).as_deref(),
            Some("# by hand\noptions timeout:1\nnameserver 10.88.0.1\nsearch example.org zones.internal\n")
        );
        assert_eq!(new(name_servers, "").as_deref(), Some("nameserver 10.88.0.1\nsearch zones.internal\n"));
        assert_eq!(name_servers("", &Facts::default()), None);
    }

    #[test]
    fn what_only_machines_have() {
        let old = "# <file system>\nproc /proc proc defaults 0 0\nUUID=1-2 / ext3 defaults 0 1\n\
                   /dev/sda5\tnone\tswap\tsw 0 0\nnas:/home /home nfs defaults 0 0\n/dev/cdrom /media/cdrom udf noauto 0 0\n\
                   rootfs / rootfs rw 0 0\ntmpfs /tmp tmpfs defaults 0 0";
        assert_eq!(
            new(disks, old).as_deref(),
            Some(
                "# <file system>\nproc /proc proc defaults 0 0\n#zone# UUID=1-2 / ext3 defaults 0 1\n\
                 #zone# /dev/sda5\tnone\tswap\tsw 0 0\nnas:/home /home nfs defaults 0 0\n\
                 #zone# /dev/cdrom /media/cdrom udf noauto 0 0\n#zone# rootfs / rootfs rw 0 0\ntmpfs /tmp tmpfs defaults 0 0"
            )
        );
        assert_eq!(new(disks, "proc /proc proc defaults 0 0\n"), None);
        let old = "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\nT0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n\
                   ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100\n::sysinit:/etc/init.d/rcS\nco:23:respawn:/sbin/getty hvc0\n";
        assert_eq!(
            new(serial_lines, old).as_deref(),
            Some(
                "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\n\
                 #zone# T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n\
                 #zone# ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100\n::sysinit:/etc/init.d/rcS\n\
                 #zone# co:23:respawn:/sbin/getty hvc0\n"
            )
        );
    }

    #[test]
    fn networks() {
        let old = "auto lo eth0\niface lo inet loopback\niface eth0 inet static\n    address 192.168.7.4\n    # old\n    \
                   gateway 192.168.7.1\nallow-hotplug eth1\niface eth1 inet static\n    address 10.0.0.1\n";
        assert_eq!(
            new(ifupdown, old).as_deref(),
            Some(
                "auto lo eth0\niface lo inet loopback\niface eth0 inet manual\n#zone#     address 192.168.7.4\n    # old\n\
                 #zone#     gateway 192.168.7.1\nallow-hotplug eth1\niface eth1 inet static\n    address 10.0.0.1\n"
            )
        );
        assert_eq!(new(ifupdown, "auto eth0\niface eth0 inet dhcp\n    hostname x\n"), None);
        let old = "DEVICE=eth0\nBOOTPROTO=static\nHWADDR=00:0C:29:11:22:33\nONBOOT=yes\nIPADDR=192.168.7.4\nNETMASK=255.255.255.0\n";
        assert_eq!(
            new(ifcfg, old).as_deref(),
            Some(
                "DEVICE=eth0\nBOOTPROTO=none\n#zone# HWADDR=00:0C:29:11:22:33\nONBOOT=yes\n#zone# IPADDR=192.168.7.4\n\
                 #zone# NETMASK=255.255.255.0\n"
            )
        );
        assert_eq!(
            new(ifcfg, "BOOTPROTO='dhcp'\nLLADDR='00:0c:29:11:22:33'\nSTARTMODE='auto'\n").as_deref(),
            Some("BOOTPROTO='dhcp'\n#zone# LLADDR='00:0c:29:11:22:33'\nSTARTMODE='auto'\n")
        );
        assert_eq!(new(ifcfg, "DEVICE=lo\nBOOTPROTO=static\nIPADDR=127.0.0.1\n"), None);
        assert_eq!(new(ifcfg, "IPADDR='127.0.0.1/8'\nBOOTPROTO='static'\n"), None);
        // Scripts beside them.
        assert_eq!(new(ifcfg, "#!/bin/bash\nNETWORK=\"x\"\n"), None);
    }
}
