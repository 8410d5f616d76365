//! Layers → one folder: for hosts whose kernel cannot map ids under an overlay.

use std::io;
use std::path::{Path, PathBuf};

use super::backend::flat;
use crate::image;

/// Puts `layers`, the topmost first, one over the other into the empty folder `dest`.
///
/// # Errors
/// `dest` holds anything then.
pub fn flatten(layers: &[PathBuf], dest: &Path) -> io::Result<()> {
    for layer in layers.iter().rev() {
        image::copy_layer(layer, dest).map_err(flat)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::fs::{FileType, Mode, XattrFlags};

    use super::*;

    fn layer(dir: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = dir.join(name);
        fs::create_dir(&root).unwrap();
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match *text {
                "whiteout" => {
                    let cwd = rustix::fs::CWD;
                    rustix::fs::mknodat(cwd, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
                }
                "opaque" => {
                    fs::create_dir_all(&path).unwrap();
                    rustix::fs::setxattr(&path, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
                }
                text => fs::write(path, text).unwrap(),
            }
        }
        root
    }

    #[test]
    fn upper_layers_add_replace_and_hide() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let at = dir.path();
        let files = [
            ("a", "1"),
            ("b/x", "1"),
            ("b/y", "1"),
            ("c/x", "1"),
            ("d/x", "1"),
            ("e", "1"),
            ("f/x", "1"),
            ("g", "1"),
        ];
        let low = layer(at, "low", &files);
        symlink("/etc", low.join("h")).unwrap();
        let files = [
            ("a", "2"),
            ("b/x", "whiteout"),
            ("c", "opaque"),
            ("c/y", "2"),
            ("d", "2"),
            ("e/x", "2"),
            ("f", "whiteout"),
            ("none", "whiteout"),
            ("h/x", "2"),
        ];
        let high = layer(at, "high", &files);
        fs::hard_link(high.join("a"), high.join("g")).unwrap();
        let dest = at.join("dest");
        fs::create_dir(&dest).unwrap();
        flatten(&[high, low], &dest).unwrap();
        let text = |name: &str| fs::read_to_string(dest.join(name)).ok();
        assert_eq!(text("a").as_deref(), Some("2"));
        assert_eq!((text("b/x"), text("b/y").as_deref()), (None, Some("1")));
        assert_eq!((text("c/x"), text("c/y").as_deref()), (None, Some("2")));
        assert_eq!(text("d").as_deref(), Some("2"));
        assert_eq!(text("e/x").as_deref(), Some("2"));
        assert!(!dest.join("f").exists() && fs::symlink_metadata(dest.join("none")).is_err());
        let ino = |name: &str| fs::metadata(dest.join(name)).unwrap().ino();
        assert_eq!(ino("a"), ino("g"));
        assert_eq!(text("h/x").as_deref(), Some("2"));
        assert!(!Path::new("/etc/x").exists());
    }
}
