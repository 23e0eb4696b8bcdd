//! Parts of a hundred as texts: "10%".

use schemars::{Schema, json_schema};

use crate::leaf::{Leaf, Scalar};

/// So many percent, at most `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percent<const MAX: u8>(pub(crate) u8);

impl<const MAX: u8> Leaf for Percent<MAX> {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        let number = match scalar {
            Scalar::Text(text) => text.strip_suffix('%').and_then(|number| {
                let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
                number.parse().ok().filter(|number| is_plain && *number <= MAX)
            }),
            _ => None,
        };
        number.map(Self).ok_or_else(|| scalar.is_not(&format!("a percentage from `0%` to `{MAX}%`")))
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,3}%$", "examples": ["10%"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_its_sign_and_is_within_bounds() {
        let read = |text: &str| Percent::<50>::read(&Scalar::Text(text.to_owned())).map(|it| it.0);
        assert_eq!((read("0%"), read("50%")), (Ok(0), Ok(50)));
        for wrong in ["51%", "10", "%", "-1%", "+1%", "1.5%", "300%", " 5%"] {
            let error = read(wrong).expect_err(wrong);
            assert_eq!(error, format!("`{wrong}` is not a percentage from `0%` to `50%`"));
        }
        assert!(Percent::<50>::read(&Scalar::Integer(10)).is_err());
    }
}
