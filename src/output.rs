//! Where reports go: several at once, each file whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that is being written beside the one that it becomes.
struct Staged {
    beside: PathBuf,
    target: PathBuf,
    shown: PathBuf,
}

/// The file that a path means, whatever way it is written.
fn meant(path: &Path) -> PathBuf {
    let whole = path.canonicalize().ok();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let joined = || Some(parent.canonicalize().ok()?.join(path.file_name()?));
    whole.or_else(joined).unwrap_or_else(|| path.to_owned())
}

/// Whether every output has a place of its own; `None` is standard output.
///
/// # Errors
/// What is in the way, for people.
pub fn apart(targets: &[Option<&Path>]) -> Result<(), String> {
    for (i, target) in targets.iter().enumerate() {
        for other in &targets[..i] {
            match (target, other) {
                (None, None) => {
                    return Err(
                        "two reports to standard output; give all but one a file: --format json=FILE".to_owned()
                    );
                }
                (Some(a), Some(b)) if meant(a) == meant(b) => {
                    return Err(format!("{}: two outputs to one file", a.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Writes all files, or none: each is written beside its target, and they take its name when all are there.
///
/// # Errors
/// The file that cannot be written, and why.
pub fn write(files: &[(&Path, &str)]) -> Result<(), String> {
    let mut staged: Vec<Staged> = Vec::new();
    let mut direct = Vec::new();
    let mut outcome = Ok(());
    for (i, (path, text)) in files.iter().enumerate() {
        let failed = |e: std::io::Error| format!("{}: cannot be written: {e}", path.display());
        let target = meant(path);
        match fs::metadata(&target) {
            Ok(about) if about.is_dir() => outcome = Err(format!("{}: cannot be written: is a folder", path.display())),
            // A pipe or device has nothing beside it.
            Ok(about) if !about.is_file() => direct.push((*path, *text)),
            Ok(about) if about.permissions().readonly() => {
                outcome = Err(format!("{}: cannot be written: it is read-only", path.display()));
            }
            about => {
                let name = target.file_name().unwrap_or_default().to_string_lossy();
                let beside = target.with_file_name(format!(".{name}.{}-{i}.tmp", std::process::id()));
                let written = create(&beside, text);
                staged.push(Staged { beside, target, shown: path.to_path_buf() });
                outcome = written.map_err(failed);
                if let (Ok(()), Ok(about), Some(new)) = (&outcome, about, staged.last()) {
                    // Who may read it stays as it was.
                    let _ = fs::set_permissions(&new.beside, about.permissions());
                }
            }
        }
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        for (path, text) in direct {
            let open = OpenOptions::new().write(true).open(path);
            let written = open.and_then(|mut file| file.write_all(text.as_bytes()));
            outcome = outcome.and(written.map_err(|e| format!("{}: cannot be written: {e}", path.display())));
        }
    }
    for Staged { beside, target, shown } in staged {
        if outcome.is_ok() {
            let renamed = fs::rename(&beside, &target);
            outcome = renamed.map_err(|e| format!("{}: cannot be written: {e}", shown.display()));
        }
        if outcome.is_err() {
            let _ = fs::remove_file(&beside);
        }
    }
    outcome
}

fn create(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
