//! The texts of the files below a folder.

use std::path::Path;

use crate::snapshot::{Document, Gravity, LoadError, Problem};

/// The text of every `.json` file below `folder`, and the files that are no text.
pub fn files(folder: &Path) -> Result<(Vec<Document>, Vec<Problem>), LoadError> {
    if !folder.exists() {
        return Err(LoadError::NotFound(folder.to_owned()));
    }
    let mut paths = Vec::new();
    if folder.is_file() {
        paths.push(folder.to_owned());
    } else {
        let mut open = vec![folder.to_owned()];
        while let Some(dir) = open.pop() {
            let entries = std::fs::read_dir(&dir).map_err(|e| LoadError::Unreadable(dir.clone(), e))?;
            for entry in entries {
                let path = entry.map_err(|e| LoadError::Unreadable(dir.clone(), e))?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
                    paths.push(path);
                }
            }
        }
    }
    if paths.is_empty() {
        return Err(LoadError::Empty(folder.to_owned()));
    }
    let mut documents = Vec::with_capacity(paths.len());
    let mut problems = Vec::new();
    for path in paths {
        let relative = path
            .strip_prefix(folder)
            .ok()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(path.file_name().map_or(path.as_path(), Path::new));
        let name = relative.to_string_lossy().replace('\\', "/");
        match std::fs::read(&path) {
            Err(error) => problems.push(Problem {
                gravity: Gravity::NotJson,
                file: name,
                line: None,
                column: None,
                message: format!("cannot be read: {error}"),
                help: "give read permission, or leave the file out".to_owned(),
            }),
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => documents.push(Document { path: name, text: unmarked(text) }),
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    let before = &error.as_bytes()[..at];
                    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
                    let column = at - before.iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1) + 1;
                    problems.push(Problem {
                        gravity: Gravity::NotJson,
                        file: name.clone(),
                        line: Some(line),
                        column: Some(column),
                        message: "is not UTF-8 text".to_owned(),
                        help: "export it again with `--output json`; a shell that redirects as UTF-16 (PowerShell `>`) does this".to_owned(),
                    });
                }
            },
        }
    }
    Ok((documents, problems))
}

/// Without the byte order mark that some shells write.
fn unmarked(mut text: String) -> String {
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    text
}
