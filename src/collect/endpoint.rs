//! Where the services of AWS are: partitions and the names of their hosts.

use super::call::Service;

/// A partition of AWS: its name, how its Regions begin, its domains (by IPv4, and by IPv6, too), and where its IAM is.
struct Partition {
    name: &'static str,
    regions: &'static str,
    domain: &'static str,
    dual_stack: &'static str,
    iam: &'static str,
    iam_dual_stack: &'static str,
    iam_region: &'static str,
}

/// From botocore's `partitions.json` and the endpoint rules of IAM. The first is for Regions that no other has.
const PARTITIONS: [Partition; 8] = [
    Partition {
        name: "aws",
        regions: "",
        domain: "amazonaws.com",
        dual_stack: "api.aws",
        iam: "iam.amazonaws.com",
        iam_dual_stack: "iam.global.api.aws",
        iam_region: "us-east-1",
    },
    Partition {
        name: "aws-cn",
        regions: "cn-",
        domain: "amazonaws.com.cn",
        dual_stack: "api.amazonwebservices.com.cn",
        iam: "iam.cn-north-1.amazonaws.com.cn",
        iam_dual_stack: "iam.global.api.amazonwebservices.com.cn",
        iam_region: "cn-north-1",
    },
    Partition {
        name: "aws-us-gov",
        regions: "us-gov-",
        domain: "amazonaws.com",
        dual_stack: "api.aws",
        iam: "iam.us-gov.amazonaws.com",
        iam_dual_stack: "iam.us-gov.api.aws",
        iam_region: "us-gov-west-1",
    },
    Partition {
        name: "aws-iso",
        regions: "us-iso-",
        domain: "c2s.ic.gov",
        dual_stack: "api.aws.ic.gov",
        iam: "iam.us-iso-east-1.c2s.ic.gov",
        iam_dual_stack: "iam.api.aws.ic.gov",
        iam_region: "us-iso-east-1",
    },
    Partition {
        name: "aws-iso-b",
        regions: "us-isob-",
        domain: "sc2s.sgov.gov",
        dual_stack: "api.aws.scloud",
        iam: "iam.us-isob-east-1.sc2s.sgov.gov",
        iam_dual_stack: "iam.api.aws.scloud",
        iam_region: "us-isob-east-1",
    },
    Partition {
        name: "aws-iso-e",
        regions: "eu-isoe-",
        domain: "cloud.adc-e.uk",
        dual_stack: "api.cloud-aws.adc-e.uk",
        iam: "iam.eu-isoe-west-1.cloud.adc-e.uk",
        iam_dual_stack: "iam.api.cloud-aws.adc-e.uk",
        iam_region: "eu-isoe-west-1",
    },
    Partition {
        name: "aws-iso-f",
        regions: "us-isof-",
        domain: "csp.hci.ic.gov",
        dual_stack: "api.aws.hci.ic.gov",
        iam: "iam.us-isof-south-1.csp.hci.ic.gov",
        iam_dual_stack: "iam.api.aws.hci.ic.gov",
        iam_region: "us-isof-south-1",
    },
    Partition {
        name: "aws-eusc",
        regions: "eusc-",
        domain: "amazonaws.eu",
        dual_stack: "api.amazonwebservices.eu",
        iam: "iam.eusc-de-east-1.amazonaws.eu",
        iam_dual_stack: "iam.global.api.amazonwebservices.eu",
        iam_region: "eusc-de-east-1",
    },
];

fn of(region: &str) -> &'static Partition {
    PARTITIONS[1..].iter().find(|p| region.starts_with(p.regions)).unwrap_or(&PARTITIONS[0])
}

/// The partition of a Region.
pub(super) fn partition(region: &str) -> &'static str {
    of(region).name
}

/// The Region that a service's signatures name: of IAM, its partition's.
pub(super) fn signing_region(service: Service, region: &str) -> &str {
    if service == Service::Iam { of(region).iam_region } else { region }
}

/// The host of a service, by botocore's endpoint rules; with `dual_stack` one that IPv6 reaches, too.
pub(super) fn host(service: Service, region: &str, fips: bool, dual_stack: bool) -> String {
    let partition = of(region);
    let aws = partition.name == "aws";
    let name = service.prefix();
    match (service, fips, dual_stack) {
        (Service::Iam, false, false) => partition.iam.to_owned(),
        (Service::Iam, false, true) => partition.iam_dual_stack.to_owned(),
        (Service::Iam, true, false) => partition.iam.replacen("iam.", "iam-fips.", usize::from(aws)),
        (Service::Iam, true, true) => partition.iam_dual_stack.replacen("iam.", "iam-fips.", usize::from(aws)),
        (_, true, true) => format!("{name}-fips.{region}.{}", partition.dual_stack),
        (_, false, true) => format!("{name}.{region}.{}", partition.dual_stack),
        // In GovCloud these are FIPS endpoints under their usual names.
        (Service::Eks, true, false) if aws => format!("fips.eks.{region}.{}", partition.domain),
        (Service::Kms, true, false) => format!("kms-fips.{region}.{}", partition.domain),
        (_, true, false) if aws => format!("{name}-fips.{region}.{}", partition.domain),
        _ => format!("{name}.{region}.{}", partition.domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_lie_in_partitions() {
        for (region, name, domain) in [
            ("us-west-2", "aws", "amazonaws.com"),
            ("cn-north-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
        ] {
            assert_eq!((of(region).name, of(region).domain), (name, domain));
        }
    }

    #[test]
    fn hosts_are_those_of_botocore() {
        for (service, region, fips, dual_stack, expected) in [
            (Service::Ec2, "eu-west-1", false, false, "ec2.eu-west-1.amazonaws.com"),
            (Service::Ec2, "eu-west-1", false, true, "ec2.eu-west-1.api.aws"),
            (Service::Eks, "us-east-1", true, false, "fips.eks.us-east-1.amazonaws.com"),
            (Service::Eks, "us-east-1", true, true, "eks-fips.us-east-1.api.aws"),
            (Service::Eks, "us-gov-west-1", true, false, "eks.us-gov-west-1.amazonaws.com"),
            (Service::Elbv2, "cn-north-1", false, true, "elasticloadbalancing.cn-north-1.api.amazonwebservices.com.cn"),
            (Service::Iam, "eu-west-1", false, false, "iam.amazonaws.com"),
            (Service::Iam, "eu-west-1", false, true, "iam.global.api.aws"),
            (Service::Iam, "eu-west-1", true, true, "iam-fips.global.api.aws"),
            (Service::Iam, "us-gov-east-1", true, true, "iam.us-gov.api.aws"),
            (Service::Sts, "eu-west-1", false, true, "sts.eu-west-1.api.aws"),
        ] {
            assert_eq!(host(service, region, fips, dual_stack), expected);
        }
    }
}
