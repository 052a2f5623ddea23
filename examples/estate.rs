//! Writes a made-up cluster that works as a snapshot: `cargo run --example estate -- /tmp/big --nodes 5000`.

#![allow(clippy::unwrap_used)]

#[path = "../tests/estate/mod.rs"]
mod estate;

use std::path::PathBuf;
use std::process::ExitCode;

use estate::{Estate, Mode, Options, fixtures};

const USAGE: &str = "usage: estate FOLDER [--mode default|private|custom-networking|prefix|fargate|karpenter|ipv6|auto-mode|pod-groups] [--name NAME] [--region REGION]
              [--account ACCOUNT] [--nodes N] [--pods N] [--compact]
       estate --fixtures        writes the fixtures anew";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = Options::default();
    let mut folder = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--fixtures" => {
                let fixtures_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
                for (name, options) in fixtures() {
                    let folder = fixtures_folder.join(name);
                    if folder.exists() {
                        std::fs::remove_dir_all(&folder)?;
                    }
                    Estate::new(options).write(&folder)?;
                }
                return Ok(());
            }
            "--mode" => {
                let wanted = value()?;
                options.mode = Mode::ALL.iter().find(|(name, _)| *name == wanted).ok_or(USAGE)?.1;
            }
            "--name" => options.name = value()?,
            "--region" => options.region = value()?,
            "--account" => options.account = value()?,
            "--nodes" => options.nodes = value()?.parse()?,
            "--pods" => options.pods_per_node = value()?.parse()?,
            "--compact" => options.compact = true,
            path if !path.starts_with('-') => folder = Some(PathBuf::from(path)),
            _ => return Err(USAGE.into()),
        }
    }
    Estate::new(options).write(&folder.ok_or(USAGE)?)?;
    Ok(())
}
