//! Writes the man pages and the completions of all shells: `cargo run --example man -- FOLDER`.

#[allow(dead_code)]
#[path = "../src/cli.rs"]
mod cli;

use std::path::{Path, PathBuf};

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/man".to_owned()));
    write(&folder)?;
    println!("{}", folder.display());
    Ok(())
}

/// Writes a page for each command, and a script for each shell.
pub fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::Cli::command(), folder)?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut cli::Cli::command(), "eks-doctor", folder)?;
    }
    Ok(())
}
