//! The ends of a flow as people name them: interfaces, instances, nodes, pods, addresses, `api`, `coredns`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Cluster;
use crate::network::{End, Flow, LINUX_CLIENT_PORTS, Protocol, TRANSLATED_CLIENT_PORTS, Trace};
use crate::shape::k8s::Pod;
use crate::shape::{Row, Str};
use crate::snapshot::{Missing, Rec};

/// A name that is no end of a flow.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Nothing of that name was recorded.
    #[error(
        "`{0}` is not in the snapshot; name an interface (eni-...), instance (i-...), node, pod (namespace/name), address, `internet`, `api` or `coredns`"
    )]
    NotFound(String),
    /// It is there, but where it stands in the network is not recorded.
    #[error("`{0}`: {1}")]
    Unknown(String, Missing),
    /// Something about the question itself.
    #[error("{0}")]
    Wrong(String),
}

/// One end that a name stands for.
#[derive(Debug, Clone)]
struct Place {
    label: String,
    end: End,
    address: Option<IpAddr>,
    /// The pod, whose packets the CNI may translate.
    pod: Option<Row>,
}

/// What to trace, as people ask it.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Question {
    #[serde(default)]
    pub id: Option<serde_json::Value>,
    pub from: String,
    #[serde(default)]
    pub from_ip: Option<IpAddr>,
    #[serde(default)]
    pub to: Option<String>,
    #[serde(default)]
    pub to_ip: Option<IpAddr>,
    #[serde(default = "tcp")]
    pub protocol: String,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub icmp_type: Option<u8>,
    #[serde(default)]
    pub icmp_code: Option<u8>,
}

fn tcp() -> String {
    "tcp".to_owned()
}

impl Cluster {
    /// Traces what was asked: one trace for each pair of ends that the names stand for.
    ///
    /// # Errors
    /// Names and protocols that are not known.
    pub fn answer(&self, question: &Question) -> Result<Vec<Trace>, EndError> {
        let protocol = Protocol::parse(&question.protocol).ok_or_else(|| {
            EndError::Wrong(format!("no protocol `{}`: tcp, udp, icmp, icmpv6, all or a number", question.protocol))
        })?;
        if protocol.has_ports() && question.port.is_none() {
            return Err(EndError::Wrong(format!("{protocol} needs a port")));
        }
        let sources = self.places(&question.from, question.from_ip)?;
        let destinations = match (&question.to, question.to_ip) {
            (Some(to), address) => self.places(to, address)?,
            (None, Some(address)) => self.places(&address.to_string(), None)?,
            (None, None) => return Err(EndError::Wrong("to where? give `to` or `to_ip`".to_owned())),
        };
        let mut traces = Vec::new();
        for source in &sources {
            for destination in &destinations {
                let (from, client_ports) = self.leaves(source, destination)?;
                let flow = Flow {
                    source: from,
                    destination: destination.end.clone(),
                    protocol,
                    port: question.port,
                    icmp: question.icmp_type.map(|t| (t, question.icmp_code.unwrap_or(0))),
                    client_ports,
                };
                let mut trace = self.network.trace(&self.snapshot, &flow);
                for (end, label) in [(&mut trace.from, &source.label), (&mut trace.to, &destination.label)] {
                    if !label.is_empty() && end != label {
                        *end = format!("{label} ({end})");
                    }
                }
                traces.push(trace);
            }
        }
        Ok(traces)
    }

    /// With which address the packet leaves: the CNI translates what pods send out of the VPC.
    fn leaves(&self, source: &Place, destination: &Place) -> Result<(End, RangeInclusive<u16>), EndError> {
        let (Some(row), Some(address)) = (source.pod, destination.address.or(source.address)) else {
            return Ok((source.end.clone(), LINUX_CLIENT_PORTS));
        };
        let unknown = |missing| EndError::Unknown(source.label.clone(), missing);
        let pod = self.snapshot.tables.pods.at(row.index);
        let place = self.pod_place(pod.value).map_err(unknown)?;
        let address = if matches!(destination.end, End::Internet) {
            if place.address.is_ipv6() { crate::network::ANY_PUBLIC_V6 } else { crate::network::ANY_PUBLIC_V4 }
        } else {
            address
        };
        let (interface, leaving) = self.pod_leaves(&place, address).map_err(unknown)?;
        let ports = if leaving == place.address { LINUX_CLIENT_PORTS } else { TRANSLATED_CLIENT_PORTS };
        let id = self.snapshot.tables.id(interface);
        Ok((End::Interface { id, address: Some(leaving) }, ports))
    }

    fn places(&self, name: &str, address: Option<IpAddr>) -> Result<Vec<Place>, EndError> {
        let tables = &self.snapshot.tables;
        let one = |label: &str, end: End, address: Option<IpAddr>| {
            Ok(vec![Place { label: label.to_owned(), end, address, pod: None }])
        };
        let unknown = |missing| EndError::Unknown(name.to_owned(), missing);
        if name == "internet" {
            return match address {
                Some(address) => one("internet", End::Address(address), Some(address)),
                None => one("internet", End::Internet, None),
            };
        }
        if name == "api" {
            let private = self.eks().map_err(unknown)?.resourcesVpcConfig.endpointPrivateAccess;
            if private == Some(false) {
                return one("api", End::Internet, None);
            }
            let interfaces = self.control_plane_interfaces().map_err(unknown)?;
            return Ok(interfaces
                .iter()
                .map(|i| Place {
                    label: "api".to_owned(),
                    end: End::Interface { id: i.NetworkInterfaceId.clone(), address: None },
                    address: i.PrivateIpAddress.parse().ok(),
                    pod: None,
                })
                .collect());
        }
        if name == "coredns" {
            let pods = self.snapshot.table::<Pod>().map_err(unknown)?;
            let found: Vec<Place> = pods
                .iter()
                .filter(|p| {
                    p.metadata.namespace == "kube-system"
                        && p.metadata.labels.get("k8s-app").is_some_and(|l| l == "kube-dns")
                })
                .filter_map(|p| self.pod(p).ok())
                .collect();
            return if found.is_empty() { Err(EndError::NotFound(name.to_owned())) } else { Ok(found) };
        }
        if let Ok(parsed) = name.parse::<IpAddr>() {
            let vpc = self.vpc_id().unwrap_or_default();
            let owner = self.network.interface_of(&vpc, parsed).map(|row| tables.id(row));
            let end = owner.map_or(End::Address(parsed), |id| End::Interface { id, address: Some(parsed) });
            return one("", end, Some(parsed));
        }
        if let Some(interface) = tables.network_interfaces.get(name) {
            let primary = interface.PrivateIpAddress.parse().ok();
            return one("", End::Interface { id: Str::new(name), address }, address.or(primary));
        }
        if let Some(pod) = tables.pods.get(name) {
            return self.pod(pod).map(|place| vec![place]).map_err(unknown);
        }
        let workers = self.workers().map_err(unknown)?;
        let worker = workers.iter().find(|w| w.name == name || w.instance.is_some_and(|i| tables.id(i.row) == name));
        if let Some(interface) = worker.and_then(|w| w.interface) {
            let id = tables.id(interface.row);
            let primary = tables.network_interfaces.at(interface.row.index).PrivateIpAddress.parse().ok();
            return one(name, End::Interface { id, address }, address.or(primary));
        }
        if let Some(instance) = tables.instances.get(name)
            && let Some(interface) = self.interfaces_of_instance(&instance.InstanceId).first()
        {
            let primary = interface.PrivateIpAddress.parse().ok();
            return one(
                name,
                End::Interface { id: interface.NetworkInterfaceId.clone(), address },
                address.or(primary),
            );
        }
        Err(EndError::NotFound(name.to_owned()))
    }

    fn pod(&self, pod: Rec<'_, Pod>) -> Result<Place, Missing> {
        let place = self.pod_place(pod.value)?;
        Ok(Place {
            label: format!("{}/{}", pod.metadata.namespace, pod.metadata.name),
            end: End::Interface { id: place.interface.NetworkInterfaceId.clone(), address: Some(place.address) },
            address: Some(place.address),
            pod: Some(pod.row),
        })
    }
}
