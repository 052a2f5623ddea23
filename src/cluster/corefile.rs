//! CoreDNS' configuration, read as CoreDNS reads it.

use super::version::Version;

/// A block of the Corefile: the zones it serves and its plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBlock {
    /// As written: `.:53`, `example.org`, `dns://.`.
    pub keys: Vec<String>,
    pub directives: Vec<Directive>,
    /// The line with its opening brace, 1-based.
    pub line: usize,
}

/// A plugin and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    pub name: String,
    pub arguments: Vec<String>,
    /// The lines of its block, each a list of words.
    pub options: Vec<Vec<String>>,
    /// 1-based.
    pub line: usize,
}

/// Something in the Corefile that this version of CoreDNS does not start with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    /// `the plugin proxy was removed in CoreDNS 1.5.0`.
    pub what: String,
    /// What to write instead; may be empty.
    pub instead: String,
}

#[derive(Debug)]
struct Word {
    text: String,
    line: usize,
}

/// Words by line, with quotes, escapes and comments as Caddy's lexer has them.
fn words(text: &str) -> Vec<Word> {
    let mut all = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut comment, mut escaped) = (false, false, false);
    let (mut line, mut start) = (1, 1);
    for c in text.chars() {
        let ends = c == '\n' || (!quoted && c.is_whitespace()) || (quoted && !escaped && c == '"');
        if comment {
            comment = c != '\n';
        } else if ends && !(quoted && c == '\n') {
            if quoted || !word.is_empty() {
                all.push(Word { text: std::mem::take(&mut word), line: start });
            }
            quoted = false;
        } else if !quoted && word.is_empty() && c == '#' {
            comment = true;
        } else if !quoted && word.is_empty() && c == '"' {
            (quoted, start) = (true, line);
        } else if quoted && !escaped && c == '\\' {
            escaped = true;
            continue;
        } else {
            if word.is_empty() && !quoted {
                start = line;
            }
            word.push(c);
        }
        escaped = false;
        line += usize::from(c == '\n');
    }
    if !word.is_empty() {
        all.push(Word { text: word, line: start });
    }
    all
}

/// Reads a Corefile.
///
/// # Errors
/// Where its braces do not fit.
pub fn parse(text: &str) -> Result<Vec<ServerBlock>, Fault> {
    let fault = |line: usize, what: &str| Fault { line, what: what.to_owned(), instead: String::new() };
    let mut blocks = Vec::new();
    let mut all = words(text);
    let last = all.last().map_or(1, |w| w.line);
    if !all.is_empty() && !all.iter().any(|w| w.text == "{" || w.text == "}") {
        // A single block may go without braces: its first line is the zones.
        let first = all[0].line;
        let brace = |text: &str, line| Word { text: text.to_owned(), line };
        let keys = all.iter().take_while(|w| w.line == first).count();
        all.insert(keys, brace("{", first));
        all.push(brace("}", last + 1));
    }
    let mut at = 0;
    while at < all.len() {
        let mut keys = Vec::new();
        while at < all.len() && all[at].text != "{" {
            if all[at].text == "}" {
                return Err(fault(all[at].line, "a closing brace too many"));
            }
            keys.extend(all[at].text.split(',').filter(|k| !k.is_empty()).map(str::to_owned));
            at += 1;
        }
        if at == all.len() {
            // A Corefile may be one block without braces; snippets and imports need no more.
            if keys.first().is_some_and(|k| k == "import") {
                break;
            }
            return Err(fault(last, "a server block without braces"));
        }
        let line = all[at].line;
        at += 1;
        let mut directives: Vec<Directive> = Vec::new();
        loop {
            let Some(word) = all.get(at) else { return Err(fault(last, "a closing brace is missing")) };
            at += 1;
            if word.text == "}" {
                break;
            }
            let mut directive =
                Directive { name: word.text.clone(), arguments: Vec::new(), options: Vec::new(), line: word.line };
            while let Some(next) = all.get(at).filter(|w| w.line == word.line && w.text != "{" && w.text != "}") {
                directive.arguments.push(next.text.clone());
                at += 1;
            }
            if all.get(at).is_some_and(|w| w.text == "{" && w.line == word.line) {
                at += 1;
                let (mut depth, mut row) = (1, 0);
                while depth > 0 {
                    let Some(inner) = all.get(at) else { return Err(fault(last, "a closing brace is missing")) };
                    at += 1;
                    match inner.text.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        text => {
                            if inner.line != row {
                                directive.options.push(Vec::new());
                                row = inner.line;
                            }
                            if let Some(option) = directive.options.last_mut() {
                                option.push(text.to_owned());
                            }
                        }
                    }
                }
            }
            directives.push(directive);
        }
        blocks.push(ServerBlock { keys, directives, line });
    }
    Ok(blocks)
}

impl ServerBlock {
    /// The zones, without scheme and port.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| {
            let key = key.split_once("://").map_or(key.as_str(), |(_, rest)| rest);
            let zone = key.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())).map_or(key, |k| k.0);
            if zone.is_empty() { "." } else { zone }
        })
    }
    /// The ports that it listens on.
    pub fn ports(&self) -> impl Iterator<Item = i64> {
        self.keys.iter().map(|key| {
            let (scheme, rest) = key.split_once("://").unwrap_or(("dns", key));
            let usual = match scheme {
                "tls" | "quic" => 853,
                "https" | "https3" | "grpc" => 443,
                _ => 53,
            };
            rest.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).unwrap_or(usual)
        })
    }
    /// A snippet, which serves nothing by itself.
    pub fn is_snippet(&self) -> bool {
        self.keys.iter().all(|k| k.starts_with('('))
    }
    pub fn plugin(&self, name: &str) -> Option<&Directive> {
        self.directives.iter().find(|d| d.name == name)
    }
    pub fn imports(&self) -> bool {
        self.plugin("import").is_some()
    }
}

/// Plugins of the default build, of all versions since 1.5 (`plugin.cfg`).
const PLUGINS: &[&str] = &[
    "root",
    "metadata",
    "geoip",
    "cancel",
    "tls",
    "quic",
    "timeouts",
    "multisocket",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "trace",
    "ready",
    "health",
    "pprof",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "local",
    "dns64",
    "acl",
    "any",
    "chaos",
    "loadbalance",
    "tsig",
    "cache",
    "rewrite",
    "header",
    "dnssec",
    "autopath",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "kubernetes",
    "file",
    "auto",
    "secondary",
    "etcd",
    "loop",
    "forward",
    "grpc",
    "erratic",
    "whoami",
    "on",
    "sign",
    "view",
    "import",
    "grpc_server",
    "https",
    "https3",
    "nomad",
    "proxyproto",
    "federation",
    "proxy",
    "startup",
    "shutdown",
];

/// What this version of CoreDNS refuses to start with
/// (<https://github.com/coredns/coredns/tree/master/notes>, 1.5.0 and 1.7.0; `plugin.cfg` for names).
pub fn faults(blocks: &[ServerBlock], version: Option<Version>, default_build: bool) -> Vec<Fault> {
    let mut found = Vec::new();
    let since = |major, minor, patch| version.is_some_and(|v| v >= Version(major, minor, patch));
    for directive in blocks.iter().flat_map(|b| &b.directives) {
        let mut fault = |what: String, instead: &str| {
            found.push(Fault { line: directive.line, what, instead: instead.to_owned() });
        };
        match directive.name.as_str() {
            "proxy" if since(1, 5, 0) => fault("the plugin proxy was removed in CoreDNS 1.5.0".to_owned(), "forward"),
            "federation" if since(1, 7, 0) => {
                fault("the plugin federation was removed in CoreDNS 1.7.0".to_owned(), "nothing");
            }
            "kubernetes" if since(1, 7, 0) => {
                for option in &directive.options {
                    if let Some(name @ ("upstream" | "resyncperiod")) = option.first().map(String::as_str) {
                        fault(format!("the option {name} of kubernetes was removed in CoreDNS 1.7.0"), "nothing");
                    }
                }
            }
            "forward" if directive.arguments.len() < 2 => {
                fault("the plugin forward names no upstream".to_owned(), "forward . /etc/resolv.conf");
            }
            name if default_build && version.is_some() && !PLUGINS.contains(&name) => {
                fault(format!("there is no plugin {name}"), "");
            }
            _ => {}
        }
    }
    // No two blocks may serve a zone on one port, unless addresses or views (1.10) tell them apart.
    let mut seen = std::collections::BTreeSet::new();
    let apart =
        |b: &ServerBlock| b.is_snippet() || b.imports() || ["bind", "view"].iter().any(|p| b.plugin(p).is_some());
    for block in blocks.iter().filter(|b| !apart(b)) {
        for key in &block.keys {
            let plain = key.trim_start_matches("dns://");
            let plain = plain.strip_suffix(":53").unwrap_or(plain);
            if !seen.insert(if plain.is_empty() { "." } else { plain }) {
                let what = format!("the zone {plain} is served by two blocks");
                found.push(Fault { line: block.line, what, instead: String::new() });
            }
        }
    }
    found
}

/// What is to be changed in a Corefile.
#[derive(Debug, Default)]
pub struct Repair<'a> {
    /// Addresses after `forward` that are CoreDNS itself.
    pub loops: Vec<&'a str>,
    pub drop_force_tcp: bool,
    /// Plugins that the block of the root zone lacks.
    pub add: Vec<&'static str>,
}

/// The Corefile with what [`faults`] knows a remedy for, and the `repair`, mended line by line.
pub fn mend(text: &str, blocks: &[ServerBlock], faults: &[Fault], repair: &Repair<'_>) -> String {
    let root = blocks.iter().find(|b| !b.is_snippet() && b.zones().any(|z| z == "."));
    let removed = |word: &str, number: usize| {
        let of = blocks.iter().flat_map(|b| &b.directives).rfind(|d| d.line < number);
        matches!(word, "upstream" | "resyncperiod")
            && of.is_some_and(|d| d.name == "kubernetes" && faults.iter().any(|f| f.line == d.line))
    };
    let mut lines: Vec<String> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let number = i + 1;
        let first = line.split_whitespace().next().unwrap_or_default();
        let fault = faults.iter().find(|f| f.line == number && !f.instead.is_empty());
        if (repair.drop_force_tcp && first == "force_tcp") || removed(first, number) {
            continue;
        }
        match (first, fault) {
            ("proxy", Some(fault)) => lines.push(line.replacen("proxy", &fault.instead, 1)),
            ("federation", Some(_)) if !line.contains('{') => continue,
            ("forward", Some(fault)) if !line.contains('{') => {
                lines.push(line.replacen(line.trim(), &fault.instead, 1));
            }
            ("forward", _) if repair.loops.iter().any(|l| line.contains(l)) => {
                let own = |w: &str| repair.loops.iter().any(|l| w.contains(l));
                let mut words: Vec<&str> = line.split_whitespace().filter(|w| !own(w)).collect();
                let names_none = words.iter().filter(|w| **w != "{").count() < 3;
                if names_none {
                    words.insert(2.min(words.len()), "/etc/resolv.conf");
                }
                let indent = &line[..line.len() - line.trim_start().len()];
                lines.push(format!("{indent}{}", words.join(" ")));
            }
            _ => lines.push(line.to_owned()),
        }
        if root.is_some_and(|r| r.line == number) {
            for plugin in &repair.add {
                lines.push(match *plugin {
                    "kubernetes" => "    kubernetes cluster.local in-addr.arpa ip6.arpa {\n      pods insecure\n      fallthrough in-addr.arpa ip6.arpa\n    }".to_owned(),
                    "forward" => "    forward . /etc/resolv.conf".to_owned(),
                    "health" => "    health {\n      lameduck 5s\n    }".to_owned(),
                    plugin => format!("    {plugin}"),
                });
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = ".:53 {\n    errors\n    health {\n        lameduck 5s\n      }\n    ready # yes\n    kubernetes cluster.local in-addr.arpa {\n      pods insecure\n    }\n    forward . /etc/resolv.conf\n}\ncorp.example:53 { \n forward . 10.0.0.2 10.0.0.3 {\n force_tcp\n }\n}\n";

    #[test]
    fn blocks_plugins_options() {
        let blocks = parse(PLAIN).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].zones().collect::<Vec<_>>(), ["."]);
        assert_eq!(blocks[1].zones().collect::<Vec<_>>(), ["corp.example"]);
        assert_eq!(blocks[0].plugin("health").unwrap().options, [["lameduck", "5s"]]);
        assert_eq!(blocks[1].plugin("forward").unwrap().arguments, [".", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(blocks[0].plugin("forward").unwrap().line, 10);
        assert!(faults(&blocks, Some(Version(1, 11, 4)), true).is_empty());
    }

    #[test]
    fn what_does_not_start() {
        let of = |text: &str, version| faults(&parse(text).unwrap(), Some(version), true);
        let old = ".:53 {\n proxy . /etc/resolv.conf\n kubernetes cluster.local {\n upstream\n }\n}";
        assert_eq!(of(old, Version(1, 6, 6)).len(), 1);
        assert_eq!(of(old, Version(1, 4, 0)).len(), 0);
        assert_eq!(of(old, Version(1, 8, 0)).len(), 2);
        assert_eq!(of(".:53 {\n forwad . 1.1.1.1\n}", Version(1, 11, 0))[0].what, "there is no plugin forwad");
        assert_eq!(of(". {\n errors\n}\n.:53 {\n errors\n}", Version(1, 11, 0)).len(), 1);
        assert!(parse(".:53 {\n errors\n").is_err());
        assert!(parse(".:53 {\n errors\n}\n}").is_err());
        let views = ". {\n view a {\n expr true\n }\n errors\n}\n. {\n errors\n}";
        assert!(of(views, Version(1, 11, 0)).is_empty());
        assert_eq!(parse(".:53\nerrors\nforward . 10.0.0.2\n").unwrap()[0].directives.len(), 2);
    }

    #[test]
    fn what_can_be_mended() {
        let mended = |text: &str, repair: &Repair<'_>| {
            let blocks = parse(text).unwrap();
            mend(text, &blocks, &faults(&blocks, Some(Version(1, 11, 0)), true), repair)
        };
        let none = Repair::default();
        assert_eq!(
            mended(".:53 {\n  proxy . /etc/resolv.conf\n  kubernetes cluster.local {\n    upstream\n  }\n}\n", &none),
            ".:53 {\n  forward . /etc/resolv.conf\n  kubernetes cluster.local {\n  }\n}\n"
        );
        let loops = Repair { loops: vec!["172.20.0.10"], ..Repair::default() };
        assert_eq!(mended(". {\n  forward . 172.20.0.10\n}", &loops), ". {\n  forward . /etc/resolv.conf\n}\n");
        assert_eq!(mended(". {\n  forward . 172.20.0.10 10.0.0.2\n}", &loops), ". {\n  forward . 10.0.0.2\n}\n");
        let more = Repair { add: vec!["ready"], drop_force_tcp: true, ..Repair::default() };
        assert_eq!(
            mended("# x\n.:53 {\n  forward . 10.0.0.2 {\n    force_tcp\n  }\n}\n", &more),
            "# x\n.:53 {\n    ready\n  forward . 10.0.0.2 {\n  }\n}\n"
        );
    }
}
