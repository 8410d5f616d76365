//! Files that were made to cost: what a scan takes of memory and of time is bounded by a file's size. Each is
//! scanned by a process of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Names the file to a child of this program.
const FILE: &str = "SCAN_HOSTILE_FILE";

/// Bytes of address space for a scan, above the bytes of the file.
const MEMORY: u64 = 64 << 20;

const MIB: usize = 1 << 20;

/// Not a test: what a child does.
#[test]
#[ignore = "a part of the others"]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let _ = scan::scan(Path::new(&path), &mut |_| {});
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    println!("used {}", used.tv_sec * 1_000_000 + used.tv_nsec / 1000);
}

/// Scans `bytes` in a child with as much memory as they may cost, and says how many microseconds of a CPU it took.
fn cost(bytes: &[u8], unpacked: usize) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile");
    fs::write(&path, bytes).unwrap();
    // A vector that grows is there twice, and the larger one has up to twice the size.
    let memory = MEMORY + 3 * unpacked as u64;
    let exe = std::env::current_exe().unwrap();
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={memory}")).arg(exe).args(["--exact", "child", "--ignored", "--nocapture"]);
    command.args(["--test-threads", "1"]).env(FILE, &path).env("RUST_MIN_STACK", "1048576");
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let story = format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}");
    let used = text.split_once("used ").and_then(|(_, rest)| rest.lines().next());
    let used = used.unwrap_or_else(|| panic!("{story}"));
    used.parse().unwrap()
}

/// An ELF header for amd64 with these program headers: type, flags, offset, address, length.
fn elf(headers: &[[u64; 5]]) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for value in [0x40_0000u64, 64, 0] {
        out.extend(value.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    for value in [64, 56, headers.len() as u16, 0, 0, 0] {
        out.extend(value.to_le_bytes());
    }
    for [kind, flags, offset, address, len] in headers {
        out.extend((*kind as u32).to_le_bytes());
        out.extend((*flags as u32).to_le_bytes());
        for value in [offset, address, address, len, len, &4096] {
            out.extend(value.to_le_bytes());
        }
    }
    out
}

const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const NOTE: u64 = 4;

/// `size` bytes: segments, and then `fill` over and over.
fn filled(headers: &[[u64; 5]], fill: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = elf(headers);
    let rest = size - bytes.len();
    bytes.extend(fill.iter().copied().cycle().take(rest));
    bytes
}

/// Code of nothing but calls, in one segment or in as many as there may be, all of them the same bytes.
fn calls(segments: usize, size: usize) -> Vec<u8> {
    filled(&vec![[LOAD, 5, 0, 0x40_0000, size as u64]; segments], &[0x0f, 0x05], size)
}

/// Every four bytes begin an address of the vsyscall page.
fn vsyscalls(size: usize) -> Vec<u8> {
    filled(&[[LOAD, 5, 0, 0x40_0000, size as u64]], &[0x48, 0xc7, 0xc0, 0, 4, 0x60, 0xff], size)
}

/// A dynamic section, a table of versions and notes, each as long as the file and leading back into it.
fn tables(size: usize) -> Vec<u8> {
    let all = size as u64;
    let headers = [[LOAD, 4, 0, 0, all], [DYNAMIC, 4, 4096, 4096, all], [NOTE, 4, 4096, 4096, all]];
    // DT_NEEDED for ever, of a name that never ends.
    let mut bytes = filled(&headers, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], size);
    let strings = [[5u64, 0], [10, all], [0x6fff_fffe, 8192]];
    for (i, [tag, value]) in strings.iter().enumerate() {
        let at = 4096 + 16 * i;
        bytes[at..at + 8].copy_from_slice(&tag.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// Texts of C libraries, all of them cut off by one byte.
fn texts(size: usize) -> Vec<u8> {
    filled(
        &[[LOAD, 4, 0, 0x40_0000, size as u64]],
        b"\xff Go buildinfFATAL: kernel too olNo error informationuClib",
        size,
    )
}

#[test]
fn memory_and_time_grow_no_faster_than_the_file() {
    type Make = fn(usize) -> Vec<u8>;
    let all: [(&str, Make); 5] = [
        ("calls", |size| calls(1, size)),
        ("calls in many segments", |size| calls(256, size)),
        ("vsyscalls", vsyscalls),
        ("tables", tables),
        ("texts", texts),
    ];
    for (name, make) in all {
        let (small, large) = (cost(&make(MIB), MIB), cost(&make(4 * MIB), 4 * MIB));
        eprintln!("{name}: {small} and {large} µs");
        // Four times the size; what a process costs in itself is little beside it. Quadratic would be 16.
        assert!(large < 8 * small.max(20_000), "{name}: 1 MiB took {small} µs, 4 MiB {large} µs");
    }
}

#[test]
fn a_large_file_costs_what_is_read_of_it() {
    // Of code no more than 16 MiB is looked at, of a file no more than 64.
    let most = 64 * MIB;
    cost(&calls(1, most), most);
}

#[test]
fn archives_that_unpack_to_much_are_read_as_they_come() {
    let zeroes = vec![0; MIB];
    let mut header = tar::Header::new_gnu();
    header.set_size(512 * MIB as u64);
    header.set_mode(0o755);
    header.set_path("bin/zeroes").unwrap();
    header.set_cksum();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    let mut gzip = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
    gzip.write_all(header.as_bytes()).unwrap();
    for _ in 0..512 {
        gzip.write_all(&zeroes).unwrap();
    }
    gzip.write_all(&[0; 1024]).unwrap();
    gzip.finish().unwrap();
    cost(&fs::read(&path).unwrap(), 0);
    // A name that is said to be as long.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(u64::MAX >> 2);
    header.set_cksum();
    cost(&[&header.as_bytes()[..], &zeroes].concat(), 0);
}
