//! How far the reading is: a line a cluster on standard error, when that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The lines of all clusters.
pub(super) struct Progress(Option<MultiProgress>);

impl Progress {
    pub fn new() -> Progress {
        Progress(std::io::stderr().is_terminal().then(MultiProgress::new))
    }

    /// The line of one cluster.
    pub fn cluster(&self, name: &str) -> Bar {
        let Some(lines) = &self.0 else { return Bar(ProgressBar::hidden()) };
        let bar = lines.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{spinner} reading {prefix}: {pos} of {len} answers, {elapsed}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }
}

/// The line of one cluster; it goes when the cluster is read.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub fn asked(&self) {
        self.0.inc_length(1);
    }

    pub fn answered(&self) {
        self.0.inc(1);
    }

    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.done();
    }
}
