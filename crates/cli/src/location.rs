//! `IMAGE:/path`: a file inside a volume.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;

/// A path inside a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Location {
    /// Image file or block device.
    pub(crate) image: PathBuf,
    /// Path inside; starts with `/`.
    pub(crate) path: PathBuf,
}

impl Location {
    /// Splits at the first `:/`, so that an image's name may hold colons; `IMAGE:` alone is the
    /// volume's root.
    pub(crate) fn parse(text: &OsStr) -> Option<Location> {
        let bytes = text.as_bytes();
        let colon = match bytes.windows(2).position(|pair| pair == b":/") {
            Some(at) => at,
            None if bytes.ends_with(b":") => bytes.len() - 1,
            None => return None,
        };
        let (image, path) = (&bytes[..colon], &bytes[colon + 1..]);
        if image.is_empty() {
            return None;
        }
        let path = if path.is_empty() { b"/" } else { path };
        let owned = |part: &[u8]| PathBuf::from(OsString::from_vec(part.to_vec()));
        Some(Location { image: owned(image), path: owned(path) })
    }

    /// How the user wrote it.
    pub(crate) fn display(&self) -> String {
        format!("{}:{}", self.image.display(), self.path.display())
    }
}

impl ValueParserFactory for Location {
    type Parser = LocationParser;

    fn value_parser() -> LocationParser {
        LocationParser
    }
}

/// Lets clap parse a [`Location`] from bytes that need not be UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct LocationParser;

impl TypedValueParser for LocationParser {
    type Value = Location;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Location, clap::Error> {
        let text = OsStringValueParser::new().parse_ref(command, arg, value)?;
        Location::parse(&text).ok_or_else(|| {
            let message = format!(
                "`{}` names no place in a volume: write IMAGE:/PATH, as in disk.img:/etc/hosts\n",
                text.display()
            );
            command.clone().error(ErrorKind::ValueValidation, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, String)> {
        Location::parse(OsStr::new(text))
            .map(|place| (place.image.display().to_string(), place.path.display().to_string()))
    }

    #[test]
    fn first_colon_before_a_slash_splits() {
        let pair = |image: &str, path: &str| Some((image.to_owned(), path.to_owned()));
        assert_eq!(parse("disk.img:/a/b"), pair("disk.img", "/a/b"));
        assert_eq!(parse("a:b.img:/c:/d"), pair("a:b.img", "/c:/d"));
        assert_eq!(parse("disk.img:"), pair("disk.img", "/"));
        assert_eq!(parse("disk.img"), None);
        assert_eq!(parse(":/a"), None);
        assert_eq!(parse("disk.img:relative"), None);
    }
}
