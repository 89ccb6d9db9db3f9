//! What Terraform says of whoever locks a state, and reads of who holds it.
//!
//! Its members are those of Terraform's `statemgr.LockInfo`, in its order. What
//! Terraform cannot read as that it takes for a broken server, so each of them
//! is there, is text, and `Created` is a time.

use actix_web::http::StatusCode;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::{LABEL_CHARS_MAX, LOCK_INFO_TEXT_CHARS_MAX, LOCKED_BY_CHARS_MAX};
use crate::lock::{Info, Label, Owner, Snapshot};
use crate::resources::bodies::rfc3339_text;
use crate::rest::exceptions::{ApiException, FieldErrors};
use crate::rest::fields::CharField;
use crate::rest::parsers::Data;

/// What is said to whoever takes this for a place to store state.
pub(super) const NO_STATE: &str =
    "State is not stored here: let lock_address and unlock_address name this URL, and address one that stores state.";

pub(super) const NO_ID: &str = "The body is no LockInfo with an ID of 1 to 100 characters. State is not stored here.";

/// Go's zero time, which is no time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The ID of a holder who has none: Terraform needs one to ask again.
const UNKNOWN_ID: &str = "unknown";

const ID: CharField = CharField {
    chars_max: LOCKED_BY_CHARS_MAX,
};
const TEXT: CharField = CharField {
    chars_max: LOCK_INFO_TEXT_CHARS_MAX,
};

/// Terraform's LockInfo. It has the key, and so cannot be printed.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LockInfo {
    /// The key of the lock.
    #[serde(rename = "ID")]
    pub(super) id: String,
    /// What is done under it, for instance `OperationTypeApply`.
    operation: String,
    /// More about it.
    info: String,
    /// The user and the machine.
    who: String,
    /// Of Terraform.
    version: String,
    /// When it was made.
    created: String,
    /// Of the state.
    path: String,
}

impl LockInfo {
    /// Reads a body. What it does not say is empty, and `Created` no time.
    ///
    /// Errors: 400 if it has no ID, or something in it is no text or too long.
    pub(super) fn read(data: &Data<'_>) -> Result<Self, ApiException> {
        let id = id_of(data)?;
        let mut errors = FieldErrors::default();
        let mut text = |name| {
            let read = errors.check(name, TEXT.validate_exact_optional(data.get(name)));
            read.flatten().unwrap_or_default()
        };
        let info = Self {
            id,
            operation: text("Operation"),
            info: text("Info"),
            who: text("Who"),
            version: text("Version"),
            created: Some(text("Created"))
                .filter(|created| is_time(created))
                .unwrap_or_else(|| NO_TIME.to_owned()),
            path: text("Path"),
        };
        match errors.is_empty() {
            true => Ok(info),
            false => Err(ApiException::validation_error(errors)),
        }
    }

    /// What was kept of the holder; if that is no Terraform, what is known of it.
    pub(super) fn of_holder(snapshot: &Snapshot) -> Self {
        let held = snapshot.held.as_ref();
        let kept = held.and_then(|held| held.info.as_ref());
        if let Some(kept) = kept.and_then(|info| serde_json::from_str(info.reveal()).ok()) {
            return kept;
        }
        let label = held.and_then(|held| held.label.as_ref()).map(Label::as_str);
        let owner = held.and_then(|held| held.owner.as_ref()).map(Owner::as_str);
        let info = match held {
            Some(_) => "It was not Terraform that took the lock.",
            None => "The lock has ended just now, or is kept from others for a while.",
        };
        Self {
            id: UNKNOWN_ID.to_owned(),
            operation: String::new(),
            info: info.to_owned(),
            who: label.or(owner).unwrap_or_default().to_owned(),
            version: String::new(),
            created: held
                .and_then(|held| rfc3339_text(held.acquired_at))
                .unwrap_or_else(|| NO_TIME.to_owned()),
            path: snapshot.name.as_str().to_owned(),
        }
    }

    /// As it is kept.
    pub(super) fn to_kept(&self) -> Info {
        let text = serde_json::to_string(self).expect("text");
        Info::new(&text).expect("its texts are bounded")
    }

    /// Who it is, and what they do, for everybody.
    pub(super) fn label(&self) -> Option<Label> {
        let parts = [self.who.trim(), self.operation.trim()];
        let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let text: String = said.join(": ").chars().take(LABEL_CHARS_MAX).collect();
        Label::new(&text)
    }
}

/// The ID in a body.
///
/// Errors: 400 if it has none.
pub(super) fn id_of(data: &Data<'_>) -> Result<String, ApiException> {
    let id = ID.validate(data.get("ID"));
    id.map_err(|_| ApiException::new(StatusCode::BAD_REQUEST, NO_ID))
}

/// Whether Go reads it as a time, which is stricter with the letters, and knows
/// no leap seconds.
fn is_time(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok()
        && !text.ends_with('z')
        && text.get(10..11) == Some("T")
        && text.get(17..18) != Some("6")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::lock::{Acquire, FencingCounter, FencingToken, LockedBy, Operation, Resource, ResourceName, decide};

    fn info(who: &str, operation: &str) -> LockInfo {
        LockInfo {
            id: "i".to_owned(),
            operation: operation.to_owned(),
            info: String::new(),
            who: who.to_owned(),
            version: String::new(),
            created: NO_TIME.to_owned(),
            path: String::new(),
        }
    }

    /// A resource that was acquired so, as it is shown.
    fn shown(acquire: Option<Acquire>) -> Snapshot {
        let mut resource = Resource::unseen(ResourceName::new("terraform/r").expect("well formed"));
        let now = Timestamp::from_us(0);
        if let Some(acquire) = acquire {
            let mut tokens = FencingCounter::continuing_after(FencingToken::NONE);
            let acquire = Operation::Acquire(acquire);
            decide(now, &Default::default(), &mut resource, &mut tokens, &acquire);
        }
        Snapshot::of(&resource, now, None)
    }

    #[test]
    fn a_label_says_who_and_what_as_far_as_there_is_room() {
        let long = "w".repeat(300);
        for (who, operation, label) in [
            ("me@host", "OperationTypeApply", Some("me@host: OperationTypeApply")),
            (" me@host ", "", Some("me@host")),
            ("", "OperationTypePlan", Some("OperationTypePlan")),
            ("", " ", None),
            (&long, "OperationTypePlan", Some(&long[..200])),
        ] {
            let made = info(who, operation).label();
            assert_eq!(made.as_ref().map(Label::as_str), label, "{who} {operation}");
        }
    }

    #[test]
    fn the_longest_there_can_be_is_kept() {
        let worst = |chars_max| "\u{1}".repeat(chars_max);
        let mut longest = info(&worst(LOCK_INFO_TEXT_CHARS_MAX), &worst(LOCK_INFO_TEXT_CHARS_MAX));
        longest.id = worst(LOCKED_BY_CHARS_MAX);
        for text in [
            &mut longest.info,
            &mut longest.version,
            &mut longest.created,
            &mut longest.path,
        ] {
            *text = worst(LOCK_INFO_TEXT_CHARS_MAX);
        }

        let kept = longest.to_kept();

        assert!(kept.reveal().len() > 7000);
    }

    #[test]
    fn a_time_is_one_that_go_reads() {
        for (text, is_one) in [
            ("2026-11-24T16:16:09.660631123Z", true),
            ("2026-11-24T16:16:09+01:00", true),
            (NO_TIME, true),
            ("2026-11-24t16:16:09Z", false),
            ("2026-11-24 16:16:09Z", false),
            ("2026-11-24T16:16:09z", false),
            ("2016-12-31T23:59:60Z", false),
            ("2026-11-24", false),
            ("", false),
        ] {
            assert_eq!(is_time(text), is_one, "{text}");
        }
    }

    #[test]
    fn a_holder_is_described_by_itself_or_by_what_is_known_and_never_by_its_key() {
        let by_key = || Acquire::by(LockedBy::new("hunter2").expect("well formed"));
        let kept = info("me@host", "").to_kept();
        let said = |acquire| serde_json::to_value(LockInfo::of_holder(&shown(acquire))).expect("text");

        let terraform = said(Some(Acquire {
            info: Some(kept),
            ..by_key()
        }));
        let other = said(Some(Acquire {
            label: Label::new("cron"),
            ..by_key()
        }));
        let nobody = said(None);

        assert_eq!((&terraform["ID"], &terraform["Who"]), (&"i".into(), &"me@host".into()));
        assert_eq!((&other["ID"], &other["Who"]), (&UNKNOWN_ID.into(), &"cron".into()));
        assert_eq!(other["Created"], "1970-01-01T00:00:00.000000Z");
        assert!(!other.to_string().contains("hunter2"));
        assert_eq!((&nobody["Who"], &nobody["Created"]), (&"".into(), &NO_TIME.into()));
    }
}
