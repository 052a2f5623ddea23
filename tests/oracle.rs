//! The engine agrees with every packet that was really sent on AWS (`../shared/oracle`).

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use eks_doctor::network::{Disposition, End, Flow, LINUX_CLIENT_PORTS, Network, Protocol};
use eks_doctor::snapshot::Snapshot;
use serde::Deserialize;

#[derive(Deserialize)]
struct Probes {
    probes: Vec<Probe>,
}

#[derive(Deserialize)]
struct Probe {
    id: String,
    from: String,
    from_ip: std::net::IpAddr,
    to_ip: std::net::IpAddr,
    protocol: String,
    port: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    reachable: bool,
}

fn shared() -> PathBuf {
    std::env::var_os("EKS_DOCTOR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
}

#[test]
fn agrees_with_every_measured_probe() {
    let cases = shared().join("oracle/aws-measured");
    if !cases.is_dir() {
        println!("skipped: ../shared is not there");
        return;
    }
    let (mut count, mut wrong) = (0, Vec::new());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&cases).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    for case in folders {
        let snapshot = Snapshot::load(&case.join("snapshot")).unwrap();
        let network = Network::new(&snapshot);
        let text = std::fs::read_to_string(case.join("probes.json")).unwrap();
        let probes: Probes = serde_json::from_str(&text).unwrap();
        for probe in probes.probes {
            let flow = Flow {
                source: if probe.from == "internet" {
                    End::Address(probe.from_ip)
                } else {
                    End::Interface { id: probe.from.as_str().into(), address: Some(probe.from_ip) }
                },
                destination: End::Address(probe.to_ip),
                protocol: Protocol::parse(&probe.protocol).unwrap(),
                port: probe.port,
                icmp: probe.icmp_type.zip(probe.icmp_code),
                client_ports: LINUX_CLIENT_PORTS,
            };
            count += 1;
            let trace = network.trace(&snapshot, &flow);
            assert_eq!(trace.disposition, network.decide(&flow), "{}: trace and decide differ", probe.id);
            let expected = if probe.reachable { Disposition::Reachable } else { Disposition::Blocked };
            if trace.disposition != expected {
                wrong.push(format!(
                    "{} measured {expected:?}\n{}",
                    probe.id,
                    serde_json::to_string_pretty(&trace).unwrap()
                ));
            }
        }
    }
    let few: String = wrong.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {count} probes differ:\n{few}", wrong.len());
    assert_eq!(count, 980);
}
