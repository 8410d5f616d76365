//! zoned.
use std::os::fd::AsFd;
fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let control = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    if let Err(f) = zoned::monitor::run(control) { eprintln!("{}", f.sentence()); std::process::exit(1) }
}
