//! `cargo xtask docs`: the pages of docs/reference that the programs themselves write.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(crate) fn run() -> Result<()> {
    let programs = crate::build()?;
    let man = crate::top().join("docs/reference/man");
    if man.exists() {
        fs::remove_dir_all(&man).with_context(|| format!("empty {}", man.display()))?;
    }
    fs::create_dir_all(&man).with_context(|| format!("make {}", man.display()))?;
    let status =
        Command::new(programs.join("zonectl")).arg("man").arg(&man).status().context("run zonectl man")?;
    ensure!(status.success(), "zonectl man failed");
    println!("wrote {}", man.display());
    for (name, text) in brands::reference::pages() {
        let page = crate::top().join("docs/reference").join(name);
        fs::write(&page, text).with_context(|| format!("write {}", page.display()))?;
        println!("wrote {}", page.display());
    }
    Ok(())
}
