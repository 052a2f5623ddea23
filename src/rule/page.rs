//! A rule as a page for people, and the list of all rules. `docs/rules.md` is made of these.

use std::fmt::Write as _;

use super::file::{Parameter, Part, Rule, Severities, Template};
use super::{RuleSet, functions};
use crate::diagnostic::{Issue, Severity};
use crate::report::RuleInfo;
use crate::shape::{Schema, Type};

/// The severity in one word; `varies` when an expression decides.
pub fn severity(rule: &Rule) -> &'static str {
    match rule.severity {
        Severities::Always(Severity::Error) => "error",
        Severities::Always(Severity::Warning) => "warning",
        Severities::Always(Severity::Info) => "info",
        Severities::By(_) => "varies",
    }
}

fn source(template: &Template) -> String {
    let mut text = String::new();
    for part in &template.0 {
        match part {
            Part::Text(t) => text.push_str(t),
            Part::Expr(e) => {
                let _ = write!(text, "<{}>", format!("{e:?}").split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    text.trim().to_owned()
}

/// What reports say of a rule.
pub fn info(rule: &Rule) -> RuleInfo {
    RuleInfo {
        id: rule.id.clone(),
        issue: rule.issue,
        title: rule.title.clone(),
        severity: match rule.severity {
            Severities::Always(severity) => Some(severity),
            Severities::By(_) => None,
        },
        page: explain(rule),
        docs: rule.docs.clone(),
    }
}

/// One line for each rule: id, severity and title, under its issue.
pub fn list(rules: &RuleSet) -> String {
    let width = rules.rules.iter().map(|r| r.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for issue in Issue::ALL {
        let of_issue: Vec<&Rule> = rules.rules.iter().filter(|r| r.issue == issue).collect();
        if of_issue.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{} ({} rules)", issue.name(), of_issue.len());
        for rule in of_issue {
            let custom = if rule.custom { " (from --rules)" } else { "" };
            let _ = writeln!(out, "  {:width$}  {:7}  {}{custom}", rule.id, severity(rule), rule.title);
        }
    }
    out
}

/// Text without its expressions: `subnet … has … free addresses`.
fn prose(template: &Template) -> String {
    let parts = template.0.iter().map(|part| match part {
        Part::Text(text) => text.as_str(),
        Part::Expr(_) => "…",
    });
    let text = parts.collect::<String>();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|").replace('<', "\\<").replace("… …", "…")
}

/// Every rule as a section of one Markdown page: `docs/rules.md`.
pub fn book(rules: &RuleSet) -> String {
    let mut out = String::from(
        "# Rules\n\nMade from the rule files by `eks-doctor rules --format markdown > docs/rules.md`. \
         `eks-doctor explain <rule>` shows a rule with its\nexpressions and commands; \
         [writing-rules.md](writing-rules.md) says how one is written. `…` stands for what the snapshot tells.\n\n\
         Severity: *error* breaks now, *warning* breaks under growth or change, *info* is advice, *varies* depends on what \
         is found.\nA *symptom* is told with the finding that explains it, alone when none does.\n",
    );
    for issue in Issue::ALL {
        let of_issue: Vec<&Rule> = rules.rules.iter().filter(|r| r.issue == issue).collect();
        let _ = writeln!(out, "\n## {} ({} rules)\n", issue.name(), of_issue.len());
        let _ = writeln!(out, "| rule | severity | fault |\n|---|---|---|");
        for rule in &of_issue {
            let symptom = if rule.symptom { ", symptom" } else { "" };
            let title = rule.title.replace('|', "\\|");
            let _ = writeln!(out, "| [{0}](#{0}) | {1}{symptom} | {title} |", rule.id, severity(rule));
        }
        for rule in of_issue {
            let _ = writeln!(out, "\n### {}\n\n{}.\n", rule.id, rule.title);
            let _ = writeln!(out, "{}\n", wrap(&prose(&rule.because)));
            let _ = writeln!(out, "Says: {}\n", wrap(&prose(&rule.message)));
            let mut titles: Vec<String> = rule.fixes.iter().map(|f| prose(&f.title)).collect();
            titles.dedup();
            let _ = writeln!(out, "Mend it: {}.\n", wrap(&titles.join("; ")));
            let reads: Vec<&str> = rule.reads.iter().copied().collect();
            let _ = writeln!(out, "Looks at {}; reads {}. [More]({})", rule.shape, wrap(&reads.join(", ")), rule.docs);
        }
    }
    out
}

/// The page of a rule, in Markdown that reads well as plain text.
pub fn explain(rule: &Rule) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "# {}\n\n{}\n", rule.id, rule.title);
    let _ = writeln!(out, "- issue: {}\n- severity: {}\n- looks at: {}", rule.issue.name(), severity(rule), rule.shape);
    if rule.symptom {
        let _ = writeln!(out, "- a symptom: told with the finding that explains it, alone when none does");
    }
    let _ = writeln!(out, "\n## Why it matters\n\n{}\n", wrap(&source(&rule.because)));
    let _ = writeln!(out, "## What it says\n\n{}\n", wrap(&source(&rule.message)));
    if !rule.parameters.is_empty() {
        let _ = writeln!(out, "Parameters (`parameters` of eks-doctor.yaml sets them):\n");
        for Parameter { name, ty, about, default, .. } in &rule.parameters {
            let _ = writeln!(out, "    {name}: {} = {}    {about}", self::name(ty), default.shown());
        }
        out.push('\n');
    }
    if let Some(condition) = &rule.condition {
        let _ = writeln!(out, "Applies when:\n\n    {}\n", indent(condition));
    }
    let _ = writeln!(out, "Passes when:\n\n    {}\n", indent(&rule.require));
    let _ = writeln!(out, "## How to mend it\n");
    for fix in &rule.fixes {
        let _ = writeln!(out, "{}:\n", source(&fix.title));
        for command in &fix.commands {
            for line in source(command).lines() {
                let _ = writeln!(out, "    {line}");
            }
        }
        out.push('\n');
    }
    let _ = writeln!(out, "## What it reads\n\n{}\n", rule.reads.iter().copied().collect::<Vec<_>>().join(", "));
    let _ = writeln!(out, "More: {}", rule.docs);
    out
}

fn indent(expr: &super::expr::Expr) -> String {
    format!("{expr:?}").trim().replace('\n', "\n    ")
}

fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > 100 {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out
}

/// All functions that rules may call, by shape.
pub fn functions() -> String {
    let mut all = functions::all();
    all.sort_by_key(|f| (f.receiver, f.name));
    let mut out = String::new();
    let mut receiver = "";
    for function in &all {
        if function.receiver != receiver {
            receiver = function.receiver;
            let _ = writeln!(out, "{}{receiver}", if out.is_empty() { "" } else { "\n" });
        }
        let arguments: Vec<String> = function.arguments.iter().map(|(n, ty)| format!("{n}: {}", name(ty))).collect();
        let _ = writeln!(
            out,
            "  .{}({}) -> {}\n      {}",
            function.name,
            arguments.join(", "),
            name(&function.returns),
            function.doc
        );
        if !function.reads.is_empty() {
            let _ = writeln!(out, "      reads {}", function.reads.join(", "));
        }
    }
    out
}

fn name(ty: &functions::Ty) -> String {
    match ty {
        functions::Ty::Bool => "bool".to_owned(),
        functions::Ty::Int => "int".to_owned(),
        functions::Ty::Str => "string".to_owned(),
        functions::Ty::List(of) => format!("list({})", name(of)),
        functions::Ty::Object(shape) => (*shape).to_owned(),
    }
}

/// All shapes and their fields.
pub fn shapes(rules: &RuleSet) -> String {
    let mut out = String::new();
    for schema in rules.language.schemas() {
        let Schema { name, doc, fields } = schema;
        let _ = writeln!(out, "{}{name}:{doc}", if out.is_empty() { "" } else { "\n" });
        for (field, ty) in *fields {
            let _ = writeln!(out, "  .{field}: {}", field_type(ty));
        }
    }
    out
}

fn field_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::Int => "int".to_owned(),
        Type::Double => "double".to_owned(),
        Type::String => "string".to_owned(),
        Type::Any => "dyn".to_owned(),
        Type::List(of) => format!("list({})", field_type(of)),
        Type::Map(of) => format!("map(string, {})", field_type(of)),
        Type::Object(schema) => schema().name.to_owned(),
    }
}
