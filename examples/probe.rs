use std::sync::Arc;
fn main() {
    let rules = match eks_doctor::rule::RuleSet::built_in() { Ok(r) => r, Err(eks_doctor::rule::RulesError::Rule(e)) => { println!("{:?}", miette::Report::new(*e)); std::process::exit(2) }, Err(e) => { println!("{e}"); std::process::exit(2) } };
    for path in std::env::args().skip(1) {
        let snapshot = Arc::new(eks_doctor::snapshot::Snapshot::load(path.as_ref()).unwrap());
        for p in &snapshot.problems { println!("{path}: {p:?}"); }
        let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
        for f in &report.findings { println!("{path}: {:?} [{}] {} {:?}", f.severity, f.rule, f.message, f.evidence); }
        for s in &report.skipped { println!("  skipped {s:?}"); }
    }
}
