//! Reading, comparing and, when asked for, writing golden files.

use std::fs;
use std::path::PathBuf;

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of all files in a folder, sorted.
pub(crate) fn list(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(path(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether a file or folder of this name is missing and may be written.
pub(crate) fn may_write(name: &str) -> bool {
    !path(name).exists() && std::env::var("TREECAST_GOLDEN").is_ok_and(|value| value == "write")
}

/// Compares `bytes` with the file of this name, and writes it only if there is
/// none and `TREECAST_GOLDEN` is `write`.
pub(crate) fn compare(name: &str, bytes: &[u8]) {
    if may_write(name) {
        let path = path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let golden = read(name);
    let differs = golden.iter().zip(bytes).position(|(a, b)| a != b);
    let differs = differs.or((golden.len() != bytes.len()).then(|| golden.len().min(bytes.len())));
    if let Some(at) = differs {
        panic!(
            "{name}: today's code writes other bytes from {at:#x} on ({} bytes, the file has {})",
            bytes.len(),
            golden.len()
        );
    }
}
