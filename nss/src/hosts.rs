//! The text of hosts(5), a line for each address: `ADDRESS NAME.DOMAIN NAME`.

use std::ffi::c_int;
use std::net::IpAddr;

/// A zone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its name with its domain.
    pub(crate) name: &'a str,
    /// Its name.
    pub(crate) alias: &'a str,
    pub(crate) addresses: Vec<IpAddr>,
}

/// All zones of a text; what is not such a line is none.
pub(crate) fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut found: Vec<Entry<'_>> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(name)) = (words.next(), words.next()) else { continue };
        let Ok(address) = address.parse() else { continue };
        let alias = words.next().unwrap_or(name);
        match found.iter_mut().find(|entry| entry.name == name) {
            Some(entry) => entry.addresses.push(address),
            None => found.push(Entry { name, alias, addresses: vec![address] }),
        }
    }
    found
}

impl Entry<'_> {
    /// Whether that is its name; names of the network have no case, and may end in a dot.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        self.name.eq_ignore_ascii_case(name) || self.alias.eq_ignore_ascii_case(name)
    }

    /// Its addresses of a family of socket(2).
    pub(crate) fn of_family(&self, family: c_int) -> Vec<IpAddr> {
        let is_it = |address: &&IpAddr| match address {
            IpAddr::V4(_) => family == libc::AF_INET,
            IpAddr::V6(_) => family == libc::AF_INET6,
        };
        self.addresses.iter().filter(is_it).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_zone_are_put_together() {
        let text = "10.88.1.1\tweb.zones.internal web\nnonsense\n10.88.1.2 db.zones.internal db\nfd00::1\tweb.zones.internal web\n";
        let all = entries(text);
        assert_eq!(all.len(), 2);
        assert!(
            all[0].is_called("WEB") && all[0].is_called("web.zones.internal.") && !all[0].is_called("we")
        );
        assert_eq!(all[0].of_family(libc::AF_INET6), ["fd00::1".parse::<IpAddr>().unwrap()]);
        assert!(all[1].of_family(libc::AF_INET6).is_empty());
    }
}
