//! The HTML report: what it holds, that it is the same for the same input, and that it works in a browser.
//!
//! The tests in a browser need Chromium (Debian: `apt-get install chromium poppler-utils tidy`), and say so when it is
//! not there. `EKS_DOCTOR_PAGES=FOLDER` keeps the pages and takes pictures of them.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use change::Change;
use eks_doctor::cluster::Cluster;
use eks_doctor::diagnostic::{Compared, Gone, Report, Suppressed};
use eks_doctor::network::Verdict;
use eks_doctor::picture::{Band, Kind, Picture};
use eks_doctor::report::{Context, Source, html};
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;

/// Several faults at once, and names that are not friendly.
const FAULTS: &str = r#"
- file: aws/ec2/describe-network-acls.json
  add: /NetworkAcls/0/Entries/0
  value: {CidrBlock: 0.0.0.0/0, Egress: false, PortRange: {From: 53, To: 53}, Protocol: "17", RuleAction: deny, RuleNumber: 50}
- {file: aws/ec2/describe-security-groups.json, remove: '/SecurityGroups[GroupName="*-node"]/IpPermissions[FromPort=8080]'}
- {file: aws/ec2/describe-security-group-rules.json, remove: '/SecurityGroupRules[FromPort=8080]'}
- {file: "aws/elbv2/describe-target-health/k8s-web-web-*.json", set: /TargetHealthDescriptions/*/TargetHealth, to: {State: unhealthy, Reason: Target.Timeout, Description: Request timed out}}
- {file: "aws/ec2/describe-vpc-attribute/*.enableDnsHostnames.json", delete-file: true}
- {file: "aws/ec2/describe-vpc-attribute/*.enableDnsSupport.json", set: /EnableDnsSupport/Value, to: false}
- {file: aws/ec2/describe-subnets.json, set: '/Subnets/0/Tags[Key=Name]/Value', to: "\"><script>alert(1)</script>"}
- {file: aws/ec2/describe-route-tables.json, set: '/RouteTables/0/Tags[Key=Name]/Value', to: "'</svg><img src=x onerror=alert(1)>&"}
"#;

struct Made {
    report: Report,
    snapshot: Arc<Snapshot>,
    picture: Picture,
    html: String,
}

fn made(snapshot: Arc<Snapshot>, change: impl FnOnce(&mut Report)) -> Made {
    let rules = RuleSet::built_in().unwrap();
    let mut report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
    change(&mut report);
    let cluster = Cluster::choose(snapshot.clone(), None).unwrap();
    let picture = Picture::new(&cluster, &report);
    let context = Context { rules: &[], folder: "fixtures/broken" };
    let source = Source::Snapshot { path: "fixtures/broken".to_owned() };
    let html = html(&report, &snapshot, &context, &source, std::slice::from_ref(&picture));
    Made { report, snapshot, picture, html }
}

fn faults() -> Vec<Change> {
    serde_saphyr::from_str(FAULTS).unwrap()
}

/// The page that has some of everything.
fn broken() -> Made {
    let snapshot = change::changed(&change::documents("healthy"), &faults()).unwrap();
    made(snapshot, |report| {
        let mut quiet = report.findings[0].clone();
        quiet.message = "<script>alert('suppressed')</script>".to_owned();
        report.suppressed.push(Suppressed {
            finding: quiet,
            by: "eks-doctor.yaml:3".to_owned(),
            reason: "<b>known</b>".to_owned(),
            until: Some("2026-12-31".to_owned()),
        });
        let resource = report.findings[0].resource.clone();
        let gone =
            Gone { rule: "gone".to_owned(), resource, message: "<i>went</i>".to_owned(), fingerprint: "0".to_owned() };
        report.compared = Some(Compared { file: "baseline.json".to_owned(), gone: vec![gone] });
        report.findings.last_mut().unwrap().known = true;
    })
}

#[test]
fn the_page_holds_the_whole_report_and_nothing_from_elsewhere() {
    let Made { report, html, snapshot, .. } = broken();
    assert!(report.findings.len() >= 3, "{:#?}", report.findings);
    for finding in &report.findings {
        assert!(html.contains(&format!("data-rule=\"{}\"", finding.rule)), "{}", finding.rule);
        assert!(html.contains(&finding.fingerprint));
        for fix in &finding.fixes {
            assert!(html.contains(&escaped(&fix.title)), "{}", fix.title);
        }
    }
    assert!(report.findings.iter().filter(|finding| finding.trace.is_some()).count() >= 2);
    assert!(!report.skipped.is_empty());
    for word in ["Not checked", "ec2:DescribeVpcAttribute", "Suppressed", "Gone since", "in the baseline", "CoreDNS"] {
        assert!(html.contains(word), "{word}");
    }
    // Recorded text is text.
    assert_eq!(html.matches("<script").count(), 1, "only our own");
    for bad in ["<img", "alert(1)</script", "<b>known", "<i>went"] {
        assert!(!html.contains(bad), "{bad}");
    }
    // Nothing is fetched; links lead to documentation or to places in the page.
    for bad in [" src=", "url(", "@import", "<link", "<iframe", "<object", "<base", "http-equiv=\"refresh"] {
        assert!(!html.contains(bad), "{bad}");
    }
    for (at, _) in html.match_indices("href=\"") {
        let target = &html[at + 6..at + 6 + html[at + 6..].find('"').unwrap()];
        assert!(target.starts_with('#') || target.starts_with("https://docs."), "{target}");
    }
    assert!(html.contains("default-src &#39;none&#39;; style-src &#39;sha256-"));
    assert!(!html.contains(" style=\""), "the policy forbids style attributes");
    assert!(!snapshot.documents.is_empty());
}

fn escaped(text: &str) -> String {
    text.replace('&', "&#38;").replace('<', "&#60;").replace('>', "&#62;").replace('"', "&#34;").replace('\'', "&#39;")
}

#[test]
fn the_same_input_is_the_same_page() {
    for fixture in ["nacl-drops-dns", "healthy-custom-networking", "healthy-prefix", "healthy-private"] {
        let mut documents = change::documents(fixture);
        let first = made(Arc::new(Snapshot::from_documents(documents.clone())), |_| {}).html;
        documents.reverse();
        documents.rotate_left(7);
        let second = made(Arc::new(Snapshot::from_documents(documents)), |_| {}).html;
        assert!(first == second, "{fixture}");
    }
    assert!(broken().html == broken().html);
}

#[test]
fn the_picture_shows_the_vpc() {
    let Made { picture, .. } = broken();
    assert_eq!(picture.zones.len(), 3);
    assert_eq!(picture.subnets.iter().filter(|subnet| subnet.band == Band::Public).count(), 3);
    assert_eq!(picture.subnets.iter().filter(|subnet| subnet.band == Band::Private).count(), 3);
    let kinds: BTreeSet<Kind> = picture.objects.iter().map(|object| object.kind).collect();
    for kind in [
        Kind::Vpc,
        Kind::Subnet,
        Kind::RouteTable,
        Kind::Acl,
        Kind::Node,
        Kind::ControlPlane,
        Kind::CoreDns,
        Kind::Nat,
        Kind::Balancer,
        Kind::Gateway,
        Kind::Internet,
        Kind::SecurityGroup,
    ] {
        assert!(kinds.contains(&kind), "no {kind:?}");
    }
    for subnet in &picture.subnets {
        let addresses = subnet.addresses.unwrap();
        assert!(addresses.free > 0 && addresses.free <= addresses.usable);
    }
}

#[test]
fn each_step_of_a_path_is_drawn_where_it_happens() {
    let Made { picture, report, .. } = broken();
    let mut steps = 0;
    for (finding, mark) in report.findings.iter().zip(&picture.marks) {
        assert!(!mark.culprits.is_empty(), "{} has no mark", finding.rule);
        let (Some(trace), Some(path)) = (&finding.trace, &mark.path) else { continue };
        let hops = trace.forward.iter().chain(&trace.back);
        let mut before = None;
        for (hop, step) in hops.zip(path.forward.iter().chain(&path.back)) {
            let at = step.at.unwrap_or_else(|| panic!("{} at {} is nowhere", hop.step, hop.at));
            let kind = picture.objects[at].kind;
            let fits = match hop.step.as_str() {
                "route" => kind == Kind::RouteTable,
                "network ACL egress" | "network ACL ingress" => kind == Kind::Acl,
                _ => true,
            };
            assert!(fits, "{} is at a {kind:?}", hop.step);
            assert_eq!(step.verdict, hop.verdict);
            // Out of one subnet and into another.
            let subnet = picture.subnets.iter().position(|subnet| subnet.rows.contains(&at));
            if hop.step == "network ACL egress" {
                before = subnet;
            } else if hop.step == "network ACL ingress" && trace.forward.iter().any(|h| h.at == hop.at) {
                assert_ne!(before, subnet, "{}: the ACL of the same subnet twice", finding.rule);
            }
            steps += 1;
        }
        assert!(path.from.is_some() && path.to.is_some());
        assert!(path.forward.iter().chain(&path.back).any(|step| step.verdict == Verdict::Blocked));
    }
    assert!(steps >= 6, "{steps}");
}

#[test]
fn two_clusters_have_two_pictures() {
    let rules = RuleSet::built_in().unwrap();
    let other =
        change::documents("nacl-drops-dns").into_iter().map(|(path, text)| (path, text.replace("shop", "depot")));
    let both = [
        change::changed(&change::documents("healthy"), &faults()).unwrap(),
        Arc::new(Snapshot::from_documents(other.collect())),
    ];
    let checked = both.iter().map(|one| (eks_doctor::diagnose(one, &rules, None).unwrap(), one.clone())).collect();
    let (report, snapshot) = eks_doctor::join(checked);
    let clusters = both.iter().map(|one| Cluster::choose(one.clone(), None).unwrap());
    let pictures: Vec<Picture> = clusters.map(|cluster| Picture::new(&cluster, &report)).collect();
    let html = html(&report, &snapshot, &Context { rules: &[], folder: "" }, &Source::Live, &pictures);
    assert_eq!(html.matches("<svg class=\"map\"").count(), 2);
    assert!(html.contains("in cluster <code>depot</code>") && html.contains("in cluster <code>shop</code>"));
    for (i, finding) in report.findings.iter().enumerate() {
        let drawn: Vec<&str> = pictures
            .iter()
            .filter(|picture| !picture.marks[i].culprits.is_empty())
            .map(|picture| picture.cluster.as_str())
            .collect();
        assert_eq!(drawn, [finding.cluster.as_deref().unwrap()], "{}", finding.rule);
    }
    let mut ids = BTreeSet::new();
    for (at, _) in html.match_indices(" id=\"") {
        let id = &html[at + 5..at + 5 + html[at + 5..].find('"').unwrap()];
        assert!(ids.insert(id), "{id} twice");
    }
}

/// Colours of text on what they stand on, in light, dark and print.
#[test]
fn text_can_be_read() {
    let css = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/report.css")).unwrap();
    let pairs = [
        ("text", "page"),
        ("text", "surface"),
        ("text", "sunken"),
        ("text", "fine-soft"),
        ("text", "info-soft"),
        ("muted", "page"),
        ("muted", "surface"),
        ("muted", "sunken"),
        ("link", "surface"),
        ("link", "page"),
        ("error", "error-soft"),
        ("error", "surface"),
        ("error", "sunken"),
        ("warning", "warning-soft"),
        ("warning", "surface"),
        ("warning", "sunken"),
        ("info", "info-soft"),
        ("fine", "fine-soft"),
        ("fine", "surface"),
        ("on", "error"),
        ("on", "warning"),
        ("on", "info"),
        ("on", "forward"),
        ("on", "back"),
        ("mark-text", "mark"),
    ];
    let mut themes = 0;
    for block in css.split(":root").skip(1).filter(|block| block.contains("--page:")) {
        let block = &block[..block.find('}').unwrap()];
        let color = |name: &str| {
            let at = block.find(&format!("--{name}: #")).unwrap_or_else(|| panic!("no --{name}")) + name.len() + 5;
            let hex: String = block[at..].chars().take_while(char::is_ascii_hexdigit).collect();
            let hex = if hex.len() == 3 { hex.chars().flat_map(|c| [c, c]).collect() } else { hex };
            let part = |i: usize| f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
            let linear = |v: f64| if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
            0.2126 * linear(part(0)) + 0.7152 * linear(part(2)) + 0.0722 * linear(part(4))
        };
        for (text, ground) in pairs {
            let (a, b) = (color(text), color(ground));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "--{text} on --{ground}: {contrast:.2} in theme {themes}");
        }
        themes += 1;
    }
    assert_eq!(themes, 4, "light, dark by the system, dark by choice, print");
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|p| p.is_file())
}

fn skipped(what: &str) {
    eprintln!("skipped: {what} is not here; Debian: apt-get install chromium poppler-utils tidy");
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("eks-doctor-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Browser {
    program: PathBuf,
    folder: Folder,
}

impl Browser {
    fn new(name: &str) -> Option<Browser> {
        let program = program(&["chromium", "chromium-browser", "google-chrome"]);
        if program.is_none() {
            skipped("Chromium");
        }
        Some(Browser { program: program?, folder: Folder::new(name) })
    }

    /// Runs Chromium on a page: what it prints, and what the page says to the console.
    fn run(&self, html: &str, place: &str, flags: &[&str]) -> (String, Vec<String>) {
        let page = self.folder.0.join("page.html");
        std::fs::write(&page, html).unwrap();
        let run = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--enable-logging=stderr", "--virtual-time-budget=4000", "--window-size=1440,1000"])
            .arg(format!("--user-data-dir={}", self.folder.0.join("profile").display()))
            .args(flags)
            .arg(format!("file://{}{place}", page.display()))
            .output()
            .unwrap();
        let console = String::from_utf8_lossy(&run.stderr);
        let console = console.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        (String::from_utf8_lossy(&run.stdout).into_owned(), console)
    }
}

#[test]
fn the_page_is_well_formed() {
    let Some(tidy) = program(&["tidy"]) else { return skipped("tidy") };
    let folder = Folder::new("tidy");
    let page = folder.0.join("page.html");
    for html in [broken().html, made(change::changed(&change::documents("healthy"), &[]).unwrap(), |_| {}).html] {
        std::fs::write(&page, &html).unwrap();
        let run = Command::new(&tidy).args(["-q", "-e", "--show-info", "no"]).arg(&page).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        // tidy calls attributes of SVG and CSP in HTML proprietary.
        let faults: Vec<&str> = said.lines().filter(|line| !line.contains("proprietary attribute")).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn a_link_to_a_finding_opens_it_and_draws_its_path() {
    let Some(browser) = Browser::new("link") else { return };
    let made = broken();
    let with_path = made.picture.marks.iter().position(|mark| mark.path.is_some()).unwrap() + 1;
    let (dom, console) = browser.run(&made.html, &format!("#f{with_path}"), &["--dump-dom"]);
    assert!(console.is_empty(), "{}", console.join("\n"));
    let about = dom.find(&format!("id=\"path-{with_path}\"")).expect("the page is there");
    let tag = &dom[dom[..about].rfind('<').unwrap()..about];
    assert!(tag.contains(" on\""), "{tag}");
    assert_eq!(dom.matches("chosen-one\"").count(), 1);
}

/// The page with one more script, which its policy would forbid.
fn with_script(html: &str, script: &str) -> String {
    let policy = html.find("<meta http-equiv=").unwrap();
    let end = policy + html[policy..].find('>').unwrap() + 1;
    let html = html[..policy].to_owned() + &html[end..];
    html.replace("</body>", &format!("<script>{script}</script></body>"))
}

/// What is tried in the page; each line of the answer that is not `ok` is a fault.
const TRIES: &str = r#"
(function () {
  var said = [];
  function check(yes, what) { said.push((yes ? 'ok ' : 'FAULT ') + what); }
  function all(what, within) { return Array.prototype.slice.call((within || document).querySelectorAll(what)); }
  function seen(e) { return e.getClientRects().length > 0; }
  try {
    var map = document.querySelector('.map');
    var findings = all('.finding');
    check(findings.length > 2, 'findings');
    check(seen(findings[0].querySelector('.body')), 'the first finding is open');
    check(!seen(findings[1].querySelector('.body')), 'the second is closed');
    findings.forEach(function (finding) {
      var n = finding.dataset.finding, head = finding.querySelector('.head');
      head.focus();
      check(document.activeElement === head, n + ' takes the focus');
      if (!finding.classList.contains('chosen-one')) head.click();
      var about = document.getElementById('path-' + n);
      check(seen(finding.querySelector('.body')) && head.getAttribute('aria-expanded') === 'true', n + ' opens');
      check(getComputedStyle(about).display === 'inline', n + ' is shown in the picture');
      check(all('.about', map).filter(function (a) { return getComputedStyle(a).display !== 'none'; }).length === 1, n + ' alone');
      check(about.getBBox().width > 0, n + ' has something to show');
      if (finding.querySelector('.path')) {
        var steps = all('.path li', finding);
        var ways = all('.way', about);
        check(ways.length > 0 && ways.every(function (w) { return w.getTotalLength() > 0; }), n + ' draws its path');
        var numbers = all('.dot text', about).map(function (t) { return t.textContent; }).join(',');
        check(steps.length > 0 && /\d/.test(numbers), n + ' numbers its steps: ' + numbers);
        check(all('.dot.blocked', about).length > 0, n + ' shows what blocks');
      }
    });
    document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
    check(all('.about.on').length === 0 && all('.chosen-one').length === 0, 'Esc chooses none');
    var marks = all('a.mark');
    check(marks.length > 0, 'marks');
    marks.forEach(function (mark) {
      mark.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }));
      check(document.getElementById('f' + mark.dataset.finding).classList.contains('chosen-one'), 'a mark opens its finding');
    });
    document.getElementById('next').click();
    document.getElementById('clear').click();
    var theme = document.getElementById('theme'), seenThemes = [];
    for (var i = 0; i < 3; i++) { theme.click(); seenThemes.push(document.documentElement.getAttribute('data-theme') + getComputedStyle(document.body).backgroundColor); }
    check(seenThemes[0] !== seenThemes[1], 'themes: ' + seenThemes.join(' '));
    check(performance.getEntriesByType('resource').length === 0, 'nothing is fetched');
    check(document.documentElement.scrollWidth <= innerWidth, 'no sideways scrolling at ' + innerWidth);
    // Texts of one object do not meet, and stay in it.
    all('.base g[id]', map).forEach(function (object) {
      var texts = all(':scope > text', object), frame = object.querySelector(':scope > rect');
      texts.forEach(function (a, i) {
        var p = a.getBBox();
        if (frame) {
          var f = frame.getBBox();
          if (p.x < f.x || p.x + p.width > f.x + f.width + 1) check(false, 'out of its frame: ' + a.textContent);
        }
        texts.slice(i + 1).forEach(function (b) {
          var q = b.getBBox();
          var meet = p.x < q.x + q.width && q.x < p.x + p.width && p.y + 3 < q.y + q.height && q.y + 3 < p.y + p.height;
          if (meet) check(false, 'overlap: ' + a.textContent + ' / ' + b.textContent);
        });
      });
    });
    // Objects do not lie on each other.
    var frames = all('.base .row, .base .chip', map).map(function (r) { return r.getBBox(); });
    frames.forEach(function (p, i) {
      frames.slice(i + 1).forEach(function (q) {
        if (p.x < q.x + q.width && q.x < p.x + p.width && p.y < q.y + q.height && q.y < p.y + p.height) check(false, 'objects overlap at ' + p.x + ',' + p.y);
      });
    });
    var view = map.viewBox.baseVal;
    all('.base rect', map).forEach(function (r) { var b = r.getBBox(); if (b.x < 0 || b.y < 0 || b.x + b.width > view.width || b.y + b.height > view.height) check(false, 'outside of the picture'); });
    all('.about', map).forEach(function (a) { a.classList.add('on'); var b = a.getBBox(); if (b.width && (b.x < 0 || b.y < 0 || b.x + b.width > view.width + 1 || b.y + b.height > view.height + 1)) check(false, 'a path leaves the picture'); a.classList.remove('on'); });
  } catch (error) { check(false, String(error)); }
  var answer = document.createElement('pre');
  answer.id = 'answer';
  answer.textContent = said.join('\n');
  document.body.appendChild(answer);
})();
"#;

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = Browser::new("works") else { return };
    // One machine more that never joined.
    let mut changes = faults();
    changes.push(Change {
        file: "k8s/nodes.json".to_owned(),
        remove: Some("/items/0".to_owned()),
        ..Change::default()
    });
    let prefix = made(change::changed(&change::documents("healthy-prefix"), &changes).unwrap(), |_| {});
    assert!(prefix.html.contains("not joined"));
    for (name, made) in [("everything", broken()), ("prefix", prefix)] {
        let html = with_script(&made.html, TRIES);
        for size in ["--window-size=1440,1000", "--window-size=390,844"] {
            let (dom, console) = browser.run(&html, "", &["--dump-dom", size]);
            assert!(console.is_empty(), "{name} {size}: {}", console.join("\n"));
            let start = dom.find("<pre id=\"answer\">").unwrap_or_else(|| panic!("{name} {size}: no answer"));
            let answer = &dom[start + 17..start + dom[start..].find("</pre>").unwrap()];
            let faults: Vec<&str> = answer.lines().filter(|line| !line.starts_with("ok ")).collect();
            assert!(faults.is_empty(), "{name} {size}:\n{}", faults.join("\n"));
            assert!(answer.lines().count() > 20, "{answer}");
        }
    }
}

#[test]
fn print_shows_all_and_no_controls() {
    let Some(browser) = Browser::new("print") else { return };
    let Some(pdftotext) = program(&["pdftotext"]) else { return skipped("pdftotext (poppler-utils)") };
    let made = broken();
    let pdf = browser.folder.0.join("page.pdf");
    browser.run(&made.html, "", &[&format!("--print-to-pdf={}", pdf.display()), "--no-pdf-header-footer"]);
    let run = Command::new(pdftotext).args(["-layout".as_ref(), pdf.as_os_str(), "-".as_ref()]).output().unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words(&String::from_utf8_lossy(&run.stdout));
    for finding in &made.report.findings {
        // Lines may be broken within words of the column; the begin will do.
        let begin: String = words(&finding.because).chars().take(30).collect();
        assert!(text.contains(&begin), "{}: `{begin}` is not printed", finding.rule);
    }
    assert!(!text.contains("Theme:") && !text.contains("Show in the picture"));
    assert!(text.contains("CoreDNS"), "the picture is printed");
}

/// Pages and their pictures for who wants to look.
#[test]
fn pictures_to_look_at() {
    let Some(folder) = std::env::var_os("EKS_DOCTOR_PAGES").map(PathBuf::from) else { return };
    let Some(browser) = Browser::new("look") else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let made = broken();
    std::fs::write(folder.join("broken.html"), &made.html).unwrap();
    let chosen = with_script(
        &made.html,
        "document.querySelectorAll('.finding .head')[0].click(); history.replaceState(null, '', location.pathname);",
    );
    for (theme, number) in [("light", 1), ("dark", 0)] {
        for (width, height) in [(1440, 1300), (500, 2600)] {
            let shot = folder.join(format!("{theme}-{width}.png"));
            let flags = [
                format!("--screenshot={}", shot.display()),
                format!("--window-size={width},{height}"),
                format!("--blink-settings=preferredColorScheme={number}"),
                "--hide-scrollbars".to_owned(),
                "--force-prefers-reduced-motion".to_owned(),
            ];
            browser.run(&chosen, "", &flags.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
