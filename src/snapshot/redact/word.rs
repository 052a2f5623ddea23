//! Words: those that eks-doctor, AWS and Kubernetes know stay, all others become letters of the same kind.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;

use super::key::Key;
use crate::snapshot::{Source, TABLES};

/// The words of the rules and of the literals in the source: only what one of them names can matter to a finding.
static OWN: &str = include_str!(concat!(env!("OUT_DIR"), "/words.txt"));
/// Names with `-` or `_` in the same places.
static NAMED: &str = include_str!(concat!(env!("OUT_DIR"), "/names.txt"));
/// Words of AWS's and Kubernetes' answers that say nothing about whose they are.
static COMMON: &str = include_str!("common.txt");
/// Words that stand in the source and are names of people's things nevertheless.
const NAMES: [&str; 2] = ["prod", "example"];

/// The words that stay, in lower case.
fn known() -> &'static HashSet<String> {
    static KNOWN: OnceLock<HashSet<String>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut known: HashSet<String> = HashSet::new();
        known.extend(OWN.lines().map(str::to_owned));
        for line in COMMON.lines().filter(|line| !line.starts_with('#')) {
            known.extend(line.split_whitespace().map(str::to_owned));
        }
        for table in TABLES {
            let parts = match table.source {
                Source::List(key) | Source::One(key) | Source::Whole(key) => [key, "", ""],
                Source::Kind(kind, group, plural) => [kind, group, plural],
            };
            let names = parts.into_iter().chain([table.shape, table.read]);
            for word in names.flat_map(|name| name.split(|c: char| !c.is_ascii_alphanumeric())) {
                // `DescribeRouteTables` is asked as `describe-route-tables`.
                let mut from = 0;
                for (at, c) in word.char_indices().skip(1).chain([(word.len(), 'A')]) {
                    if c.is_ascii_uppercase() {
                        known.insert(word[from..at].to_lowercase());
                        from = at;
                    }
                }
                known.insert(word.to_lowercase());
            }
        }
        for name in NAMES {
            known.remove(name);
        }
        known
    })
}

/// Whether a name, or one that begins so, is one that eks-doctor itself looks for: `aws-load-balancer-controller`.
pub fn is_own(name: &str) -> bool {
    static NAMES: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    let names = NAMES.get_or_init(|| NAMED.lines().collect());
    let begins = |known: &str| known.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with(['-', '_']));
    names.range(name..).take_while(|known| known.starts_with(name)).any(|known| begins(known))
}

/// Whether a word may stay whatever it names.
fn plain(word: &str, managed: &HashSet<String>) -> bool {
    if word.len() <= 2 {
        return true;
    }
    let lower = word.to_lowercase();
    if known().contains(&lower) || managed.contains(&lower) {
        return true;
    }
    let letters = lower.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = lower.len() - letters.len();
    if letters.is_empty() {
        // A number, but an account's.
        return digits != 12;
    }
    let numbered = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // `5s`, `80Gi`, `2a` of a zone.
    // `09T12`, `20261001T080000Z`
    let time = || letters.strip_prefix('t').is_some_and(|rest| all_digits(rest.trim_end_matches('z')));
    digits > 0 && (letters.len() <= 2 || time())
        // `v1beta1`, `eksbuild1`
        || (lower.starts_with('v') && all_digits(&lower[1..].replace("alpha", "").replace("beta", "")))
        // `usw2` of a zone's id
        || (numbered.len() < lower.len()
            && ["af", "ap", "ca", "cn", "eu", "il", "me", "mx", "sa", "us"].iter().any(|area| {
                numbered.strip_prefix(area).is_some_and(|way| way.len() <= 2 && way.bytes().all(|b| b"nsewc".contains(&b)))
            }))
        // `az1`, `node2`
        || (numbered.len() < lower.len() && (numbered == "az" || numbered.len() > 2 && known().contains(numbered)))
}

/// What became of the words of a recording.
pub struct Words {
    key: Key,
    /// Lower case words of AWS's own policies.
    managed: HashSet<String>,
    replaced: BTreeMap<String, String>,
}

impl Words {
    pub fn new(key: Key) -> Words {
        Words { key, managed: HashSet::new(), replaced: BTreeMap::new() }
    }

    /// Lets the words of a name of AWS's own stay.
    pub fn keep(&mut self, name: &str) {
        self.managed.extend(name.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase));
    }

    /// Whether a word stays.
    pub fn stays(&self, word: &str) -> bool {
        plain(word, &self.managed)
    }

    /// Other letters, even for a word that would stay.
    pub fn other(&self, word: &str) -> String {
        letters(&self.key, word)
    }

    /// The word, or what stands for it.
    pub fn replace(&mut self, word: &str) -> &str {
        if !self.replaced.contains_key(word) {
            let other = if plain(word, &self.managed) { word.to_owned() } else { letters(&self.key, word) };
            self.replaced.insert(word.to_owned(), other);
        }
        &self.replaced[word]
    }

    /// The same words under a key by which no replacement is a word that stood there or that is known.
    pub fn settle(mut self) -> Words {
        let changed: Vec<String> = self.replaced.iter().filter(|(a, b)| a != b).map(|(a, _)| a.clone()).collect();
        let mut taken: HashSet<String> = self.replaced.keys().map(|w| w.to_lowercase()).collect();
        taken.extend(self.managed.iter().cloned());
        let mut best = (usize::MAX, self.key.next());
        let mut key = self.key.next();
        for _ in 0..256 {
            let clash = |word: &&String| {
                let other = letters(&key, word).to_lowercase();
                taken.contains(&other) || known().contains(&other)
            };
            let clashes = changed.iter().filter(clash).count();
            let next = key.next();
            if clashes < best.0 {
                best = (clashes, key);
            }
            if clashes == 0 {
                break;
            }
            key = next;
        }
        self.key = best.1;
        self.replaced.clear();
        self
    }
}

/// Other letters: each moves on within its kind (a-f, g-z, digits; so hex stays hex) by what stands before it. Words
/// that begin alike begin alike afterwards, and different ones stay different.
fn letters(key: &Key, word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut before = String::from("w/");
    for c in word.chars() {
        let lower = c.to_ascii_lowercase();
        let (first, count) = match lower {
            'a'..='f' => (b'a', 6),
            'g'..='z' => (b'g', 20),
            '0'..='9' => (b'0', 10),
            // Other alphabets become Latin ones.
            _ => {
                before.extend(c.to_lowercase());
                out.push(char::from(b'g' + (key.ask(before.as_bytes()) % 20) as u8));
                continue;
            }
        };
        let step = 1 + key.ask(before.as_bytes()) % (count - 1);
        let moved = char::from(first + ((u32::from(lower) - u32::from(first) + step) % count) as u8);
        out.push(if c.is_ascii_uppercase() { moved.to_ascii_uppercase() } else { moved });
        before.push(lower);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_and_words_of_the_field_stay() {
        let mut words = Words::new(Key::new(["a recording"].into_iter()));
        for word in
            ["kube", "system", "CoreDNS", "1", "shared", "2a", "usw2", "80Gi", "v1beta1", "09T12", "479789082", "us"]
        {
            assert_eq!(words.replace(word), word);
        }
        for word in ["prod", "shop", "acme", "payments", "111122223333", "3774acc754", "B\u{fc}ro", "shopNodeRole"] {
            let other = words.replace(word).to_owned();
            assert_ne!(other, word);
            assert_eq!(other.chars().count(), word.chars().count());
            assert_eq!(words.replace(word), other);
        }
    }

    #[test]
    fn relations_of_names_stay() {
        let mut words = Words::new(Key::new(["a recording"].into_iter()));
        let (shop, shops, role) =
            (words.replace("shop").to_owned(), words.replace("SHOP").to_owned(), words.replace("shopnode").to_owned());
        assert_eq!(shop, shops.to_lowercase());
        assert!(role.starts_with(&shop));
        let hex = words.replace("3774acc754").to_owned();
        assert!(hex.bytes().all(|b| b.is_ascii_hexdigit()), "{hex}");
    }
}
