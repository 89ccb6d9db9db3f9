//! From data to bytes.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// Data that can be rendered; everything that can be serialized is.
pub trait Render {
    /// As JSON, compact or indented by `indent` blanks.
    fn to_json(&self, indent: usize) -> serde_json::Result<Vec<u8>>;
}

impl<T: Serialize> Render for T {
    fn to_json(&self, indent: usize) -> serde_json::Result<Vec<u8>> {
        if indent == 0 {
            return serde_json::to_vec(self);
        }
        let blanks = vec![b' '; indent];
        let mut serializer = Serializer::with_formatter(Vec::new(), PrettyFormatter::with_indent(&blanks));
        self.serialize(&mut serializer)?;
        Ok(serializer.into_inner())
    }
}

/// `application/json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonRenderer {
    /// Blanks a level; 0 is compact.
    pub indent: usize,
}

impl JsonRenderer {
    /// What `Accept` calls it.
    pub const MEDIA_TYPE: &'static str = "application/json";

    /// What `?format=` calls it.
    pub const FORMAT: &'static str = "json";
}
