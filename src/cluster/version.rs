//! Versions as images and APIs write them.

/// A version, `v1.19.2-eksbuild.1` or `1.33`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads the first `major.minor[.patch]` of a text.
    pub fn parse(text: &str) -> Option<Version> {
        let start = text.find(|c: char| c.is_ascii_digit())?;
        let mut parts = text[start..].split(['.', '-', '+', '_']).map(|p| p.parse::<u32>());
        let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
        Some(Version(major, minor, parts.next().and_then(Result::ok).unwrap_or(0)))
    }

    /// The version in an image's tag: `.../coredns:v1.11.4-eksbuild.2`. `None` for a digest or `latest`.
    pub fn of_image(image: &str) -> Option<Version> {
        let name = image.split('@').next()?;
        let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
        Version::parse(tag)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_of_images_and_apis() {
        let image = "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/coredns:v1.11.4-eksbuild.2";
        assert_eq!(Version::of_image(image), Some(Version(1, 11, 4)));
        assert_eq!(Version::of_image("repo:5000/x/coredns"), None);
        assert_eq!(Version::of_image("coredns@sha256:0123"), None);
        assert_eq!(Version::parse("1.33"), Some(Version(1, 33, 0)));
        assert_eq!(Version::parse("v1.28.5-eks-5e0fdde"), Some(Version(1, 28, 5)));
        assert_eq!(Version::parse("none"), None);
    }
}
