//! Numbers that look like chance and are always the same for the same recording and question.

use sha2::{Digest, Sha256};

/// What makes replacements those of this recording. It is made of the whole recording: who knows only some of it
/// cannot try what a replacement stands for.
pub struct Key([u8; 32]);

impl Key {
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Key {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update(Sha256::digest(text));
        }
        Key(hash.finalize().into())
    }

    /// Another key of the same recording.
    pub fn next(&self) -> Key {
        Key(Sha256::digest(self.0).into())
    }

    /// A number about `question`.
    pub fn ask(&self, question: &[u8]) -> u32 {
        let answer = Sha256::new().chain_update(self.0).chain_update(question).finalize();
        answer[..4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
    }
}
