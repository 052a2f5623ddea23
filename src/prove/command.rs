//! A command in its words, and the options of the AWS CLI.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A command in its words, as a shell takes them; nothing of what only a shell can do but a here-string (`<<<`).
/// A `<placeholder>` makes it no command.
pub(super) fn words(command: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let (mut word, mut inside, mut quote) = (String::new(), false, None);
    let mut rest = command.trim().chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '$' | '`' | '\\') => return None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, inside) = (Some(c), true),
            (None, '<') if !inside && rest.as_str().starts_with("<< ") => {
                rest.nth(1);
                all.push("<<<".to_owned());
            }
            (None, '<' | '>' | '|' | ';' | '&' | '$' | '`' | '\\' | '\n' | '#' | '*' | '?' | '(' | ')') => return None,
            (None, c) if c.is_whitespace() => {
                if inside {
                    all.push(std::mem::take(&mut word));
                }
                inside = false;
            }
            (None, c) => {
                inside = true;
                word.push(c);
            }
        }
    }
    if inside {
        all.push(word);
    }
    // A placeholder within quotes is one, too.
    let whole = !all.iter().any(|word| word.contains('<') && word.contains('>'));
    (quote.is_none() && whole).then_some(all)
}

/// `--name value value` of the AWS CLI.
pub(super) struct Options<'c>(BTreeMap<&'c str, Vec<&'c str>>);

impl<'c> Options<'c> {
    /// Nothing when a word belongs to no option or an option is given twice.
    pub(super) fn of(words: &[&'c str]) -> Option<Options<'c>> {
        let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut last = None;
        for word in words {
            match word.strip_prefix("--") {
                Some(name) if all.insert(name, Vec::new()).is_some() => return None,
                Some(name) => last = Some(name),
                None => all.get_mut(last?)?.push(word),
            }
        }
        Some(Options(all))
    }

    /// Whether no options are there but these, and those that change nothing.
    pub(super) fn only(&self, known: &[&str]) -> Option<()> {
        let general = ["region", "output", "query", "profile", "no-cli-pager"];
        self.0.keys().all(|name| known.contains(name) || general.contains(name)).then_some(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn all(&self, name: &str) -> &[&'c str] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The value of an option that takes one.
    pub(super) fn one(&self, name: &str) -> Option<&'c str> {
        match self.all(name) {
            [one] => Some(one),
            _ => None,
        }
    }

    /// `--name` or `--no-name`, with no value.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let given = |name: &str| self.has(name) && self.all(name).is_empty();
        if given(name) { Some(true) } else { given(&format!("no-{name}")).then_some(false) }
    }
}

/// A value of the AWS CLI: JSON, or its shorthand `A=1,B=[{C=x},{C=y}],D=x,y`. In the shorthand whole numbers and
/// booleans are such, but for the keys `Key` and `Value` of tags.
pub(super) fn value(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.starts_with(['{', '[']) {
        return serde_json::from_str(text).ok();
    }
    let (map, rest) = members(text)?;
    rest.is_empty().then_some(map)
}

fn members(mut text: &str) -> Option<(Value, &str)> {
    let mut map = serde_json::Map::new();
    while !text.is_empty() && !text.starts_with('}') {
        let (key, rest) = text.split_once('=')?;
        if key.is_empty() || key.contains([',', '[', ']', '{', '}']) {
            return None;
        }
        let (mut member, mut rest) = item(rest, matches!(key, "Key" | "Value"))?;
        // What stands behind a comma and is no `Key=` is one more of the same.
        while let Some(next) = rest.strip_prefix(',') {
            let end = next.find([',', ']', '}']).unwrap_or(next.len());
            if next[..end].contains('=') || next.starts_with(['[', '{']) {
                break;
            }
            if !member.is_array() {
                member = json!([member]);
            }
            member.as_array_mut()?.push(Value::from(&next[..end]));
            rest = &next[end..];
        }
        map.insert(key.to_owned(), member);
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some((Value::Object(map), text))
}

fn item(text: &str, verbatim: bool) -> Option<(Value, &str)> {
    if let Some(mut rest) = text.strip_prefix('[') {
        let mut items = Vec::new();
        loop {
            if let Some(rest) = rest.strip_prefix(']') {
                return Some((Value::Array(items), rest));
            }
            let (one, after) = item(rest, verbatim)?;
            items.push(one);
            rest = match after.strip_prefix(',') {
                Some(after) => after,
                None if after.starts_with(']') => after,
                None => return None,
            };
        }
    }
    if let Some(rest) = text.strip_prefix('{') {
        let (map, rest) = members(rest)?;
        return Some((map, rest.strip_prefix('}')?));
    }
    let end = text.find([',', ']', '}']).unwrap_or(text.len());
    let plain = &text[..end];
    let typed = match plain {
        "true" | "false" if !verbatim => Value::Bool(plain == "true"),
        _ if !verbatim => plain.parse::<i64>().map_or_else(|_| Value::from(plain), Value::from),
        _ => Value::from(plain),
    };
    Some((typed, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_as_a_shell_takes_them() {
        let all = |text: &str| words(text).map(|w| w.join("|"));
        assert_eq!(all("aws ec2 x --y '{\"Value\":true}'").as_deref(), Some("aws|ec2|x|--y|{\"Value\":true}"));
        assert_eq!(all("kubectl apply -f - <<< '{}'").as_deref(), Some("kubectl|apply|-f|-|<<<|{}"));
        assert_eq!(all("a ''").as_deref(), Some("a|"));
        for none in [
            "aws x <id>",
            "a | b",
            "a 'b",
            "a <<<'{}'",
            "a $B",
            "a \"$(b)\"",
            "# a",
            "a '<subnet id>'",
            "a \\",
            "a << b",
        ] {
            assert_eq!(all(none), None, "{none}");
        }
    }

    #[test]
    fn the_shorthand_of_the_cli() {
        assert_eq!(
            value("IpProtocol=udp,FromPort=53,IpRanges=[{CidrIp=10.0.0.2/32},{CidrIp=10.1.0.2/32}]"),
            Some(json!({"IpProtocol": "udp", "FromPort": 53,
                "IpRanges": [{"CidrIp": "10.0.0.2/32"}, {"CidrIp": "10.1.0.2/32"}]}))
        );
        assert_eq!(
            value("subnetIds=a,b,endpointPrivateAccess=true"),
            Some(json!({"subnetIds": ["a", "b"], "endpointPrivateAccess": true}))
        );
        assert_eq!(value("Key=a,Value="), Some(json!({"Key": "a", "Value": ""})));
        assert_eq!(value("Key=a,Value=1"), Some(json!({"Key": "a", "Value": "1"})));
        assert_eq!(value("Key"), None);
        assert_eq!(value("A=[1"), None);
    }

    #[test]
    fn options_that_are_not_known_are_told() {
        let options = Options::of(&["--group-id", "sg-1", "--region", "x"]).unwrap();
        assert_eq!(options.only(&["group-id"]), Some(()));
        assert_eq!(options.only(&["port"]), None);
        assert!(Options::of(&["x", "--y"]).is_none());
        assert!(Options::of(&["--y", "1", "--y", "2"]).is_none());
    }
}
