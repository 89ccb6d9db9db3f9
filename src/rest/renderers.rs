//! From data to bytes: what a view can render, and what clients call that.

use std::error::Error;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// Room for most answers.
const BODY_BYTES_USUAL: usize = 256;

/// Bytes, or why there are none.
pub type Rendered = Result<Vec<u8>, Box<dyn Error>>;

/// Data that can be rendered; everything that can be serialized is.
pub trait Render {
    /// As JSON, compact or indented by `indent` blanks.
    fn to_json(&self, indent: usize) -> Rendered;

    /// As YAML. JSON is YAML too (YAML 1.2, section 1.3), so only a document
    /// that people read as such needs more.
    fn to_yaml(&self) -> Rendered {
        self.to_json(0)
    }
}

impl<T: Serialize> Render for T {
    fn to_json(&self, indent: usize) -> Rendered {
        if indent == 0 {
            let mut json = Vec::with_capacity(BODY_BYTES_USUAL);
            serde_json::to_writer(&mut json, self)?;
            return Ok(json);
        }
        let blanks = vec![b' '; indent];
        let mut serializer = Serializer::with_formatter(Vec::new(), PrettyFormatter::with_indent(&blanks));
        self.serialize(&mut serializer)?;
        Ok(serializer.into_inner())
    }
}

/// What a renderer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

/// One of the renderers that a view offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renderer {
    /// What `Accept` and `Content-Type` call it, in lower case.
    pub media_type: &'static str,
    /// What `?format=` calls it.
    pub format: &'static str,
    /// What it writes.
    pub syntax: Syntax,
}

impl Renderer {
    /// Django REST framework's `JSONRenderer`.
    pub const JSON: Self = Self {
        media_type: "application/json",
        format: "json",
        syntax: Syntax::Json,
    };

    /// Events as they happen (HTML, section 9.2); what is no stream is JSON.
    pub const EVENT_STREAM: Self = Self {
        media_type: "text/event-stream",
        format: "event-stream",
        syntax: Syntax::Json,
    };

    /// drf-spectacular's `OpenApiJsonRenderer`.
    pub const OPENAPI_JSON: Self = Self {
        media_type: "application/vnd.oai.openapi+json",
        ..Self::JSON
    };

    /// drf-spectacular's `OpenApiYamlRenderer2`.
    pub const YAML: Self = Self {
        media_type: "application/yaml",
        ..Self::OPENAPI_YAML
    };

    /// drf-spectacular's `OpenApiYamlRenderer`.
    pub const OPENAPI_YAML: Self = Self {
        media_type: "application/vnd.oai.openapi",
        format: "yaml",
        syntax: Syntax::Yaml,
    };
}

/// The renderer that was selected, and how it was asked to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    /// One of those that the view offers.
    pub renderer: &'static Renderer,
    /// Blanks a level; 0 is compact. For JSON only.
    pub indent: usize,
}

impl Selected {
    /// What answers if nothing is said, and if what is said cannot be
    /// satisfied: the first.
    pub fn first_of(renderers: &'static [Renderer]) -> Self {
        Self {
            renderer: renderers.first().unwrap_or(&Renderer::JSON),
            indent: 0,
        }
    }

    /// `data` in bytes.
    pub fn render(&self, data: &dyn Render) -> Rendered {
        match self.renderer.syntax {
            Syntax::Json => data.to_json(self.indent),
            Syntax::Yaml => data.to_yaml(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document that has its own YAML.
    struct Document;

    impl Render for Document {
        fn to_json(&self, _indent: usize) -> Rendered {
            Ok(b"{\"a\":1}".to_vec())
        }

        fn to_yaml(&self) -> Rendered {
            Ok(b"a: 1\n".to_vec())
        }
    }

    #[test]
    fn each_syntax_writes_its_own() {
        for (renderer, indent, data, expected) in [
            (&Renderer::JSON, 0, &[1] as &dyn Render, "[1]"),
            (&Renderer::JSON, 2, &[1], "[\n  1\n]"),
            (&Renderer::YAML, 2, &[1], "[1]"),
            (&Renderer::YAML, 0, &Document, "a: 1\n"),
            (&Renderer::OPENAPI_YAML, 0, &Document, "a: 1\n"),
            (&Renderer::OPENAPI_JSON, 0, &Document, "{\"a\":1}"),
        ] {
            let written = Selected { renderer, indent }.render(data).expect("it can be written");
            assert_eq!(String::from_utf8_lossy(&written), expected, "{renderer:?}");
        }
    }
}
