//! The console blocks of README.md do what it says: the commands run, and say something of what is expected.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

#[test]
fn console_blocks_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut run = 0;
    let mut console = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| console) {
            let arguments = command
                .strip_prefix("cargo run --no-default-features -- ")
                .or_else(|| command.strip_prefix("eks-doctor "))
                .unwrap_or_else(|| panic!("README.md: `{command}` is not run by this test"));
            let output = Command::new(env!("CARGO_BIN_EXE_eks-doctor"))
                .args(arguments.split(' '))
                .current_dir(root)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            println!("$ {command}\n{text}");
            // What works gives 0, a broken fixture 1.
            let code = i32::from(!arguments.contains("healthy"));
            assert_eq!(output.status.code(), Some(code), "`{command}`\n{text}");
            run += 1;
        }
    }
    assert!(run >= 2, "README.md has no console blocks any more");
}
