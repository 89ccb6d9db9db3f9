//! What a request must say, field by field.

use std::time::Duration;

use crate::access::AtRest;
use crate::limits::{
    IDEMPOTENCY_KEY_CHARS_MAX, LABEL_CHARS_MAX, LOCKED_BY_CHARS_MAX, NAME_CHARS_MAX, NAMES_TOGETHER_MAX,
    REASON_CHARS_MAX,
};
use crate::lock::{
    Acquire, FencingToken, Label, LockedBy, NewLabel, Owner, Reason, Release, Renew, RequestId, ResourceName, Ttl,
};
use crate::resources::RequestLimits;
use crate::rest::Query;
use crate::rest::exceptions::FieldErrors;
use crate::rest::fields::{CharField, Input, IntegerField, ListField};
use crate::rest::parsers::Data;

const NAME: CharField = CharField {
    chars_max: NAME_CHARS_MAX,
};
const LOCKED_BY: CharField = CharField {
    chars_max: LOCKED_BY_CHARS_MAX,
};
const LABEL: CharField = CharField {
    chars_max: LABEL_CHARS_MAX,
};
const REASON: CharField = CharField {
    chars_max: REASON_CHARS_MAX,
};
const FENCING_TOKEN: IntegerField<i64> = IntegerField {
    min_value: 0,
    max_value: i64::MAX,
};
const RESOURCES: ListField = ListField {
    child: NAME,
    elements_max: NAMES_TOGETHER_MAX,
};
const IDEMPOTENCY_KEY: CharField = CharField {
    chars_max: IDEMPOTENCY_KEY_CHARS_MAX,
};

/// How fields are read.
pub(super) struct Reading<'d> {
    pub(super) limits: RequestLimits,
    pub(super) at_rest: &'d AtRest,
    /// Whose token the request has.
    pub(super) owner: Option<&'d Owner>,
    /// The header of the request.
    pub(super) idempotency_key: Option<&'d str>,
}

/// The fields of a body.
pub(super) struct Fields<'d> {
    data: &'d Data<'d>,
    reading: Reading<'d>,
    errors: FieldErrors,
}

/// A valid request to acquire.
pub(super) struct Acquisition<N> {
    pub(super) wanted: N,
    pub(super) acquire: Acquire,
    /// How long to wait; `None` is not at all.
    pub(super) timeout: Option<Duration>,
}

/// What a release says, and what of it was wrong.
pub(super) struct ReleaseFields {
    /// With nobody's key if anything is wrong.
    pub(super) release: Release,
    pub(super) errors: Option<FieldErrors>,
}

impl<'d> Fields<'d> {
    /// Errors: the body is no object.
    pub(super) fn new(data: &'d Data<'d>, reading: Reading<'d>) -> Result<Self, FieldErrors> {
        data.require_fields()?;
        Ok(Self {
            data,
            reading,
            errors: FieldErrors::default(),
        })
    }

    /// What PUT says; every problem at once. The path names the resource; a name
    /// in the body is ignored.
    pub(super) fn acquisition(mut self, name: &str) -> Result<Acquisition<ResourceName>, FieldErrors> {
        let checked = ResourceName::new(name).ok_or_else(|| NAME.problems(name, None));
        let name = self.errors.check("name", checked);
        self.acquisition_of(name, |name| vec![name.as_str()])
    }

    /// What is said to acquire several resources together.
    pub(super) fn acquisition_together(mut self) -> Result<Acquisition<Vec<ResourceName>>, FieldErrors> {
        let names = RESOURCES.validate(self.data.get_list("resources"));
        let names = self.errors.check("resources", names);
        let names = names.map(|names| names.iter().filter_map(|name| ResourceName::new(name)).collect());
        self.acquisition_of(names, |names: &Vec<ResourceName>| {
            names.iter().map(ResourceName::as_str).collect()
        })
    }

    fn acquisition_of<N>(
        mut self,
        wanted: Option<N>,
        names_of: impl Fn(&N) -> Vec<&str>,
    ) -> Result<Acquisition<N>, FieldErrors> {
        let locked_by = self.locked_by();
        let ttl = self.ttl().or(default_ttl(self.reading.limits));
        let timeout = timeout_field(self.reading.limits).validate(self.data.get("timeout"));
        let timeout = self.errors.check("timeout", timeout);
        let label = self.label();
        let key = self.idempotency_key();
        match (wanted, locked_by) {
            (Some(wanted), Some(locked_by)) if self.errors.is_empty() => {
                let request = key.and_then(|key| {
                    let seconds = ttl.map(|ttl| ttl.as_seconds().to_string());
                    let (label, owner) = (label.as_ref().map(Label::as_str), locked_by.owner());
                    let parts = [Some(locked_by.reveal()), seconds.as_deref(), label];
                    // How long it waits is not part of what is asked: who asks again has less time left.
                    RequestId::new(
                        key,
                        owner,
                        parts.into_iter().chain(names_of(&wanted).into_iter().map(Some)),
                    )
                });
                Ok(Acquisition {
                    wanted,
                    acquire: Acquire {
                        locked_by,
                        ttl,
                        label,
                        client: None,
                        info: None,
                        request,
                        address: None,
                    },
                    timeout: wait_of(timeout.flatten()),
                })
            }
            _ => Err(self.errors),
        }
    }

    /// What DELETE says. What is wrong is told by the caller, who looks at the
    /// resource before.
    pub(super) fn release(mut self) -> Result<ReleaseFields, FieldErrors> {
        // Not part of the body, and so told at once.
        let key = self.idempotency_key();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let locked_by = self.locked_by();
        let fencing_token = self.fencing_token();
        let is_valid = self.errors.is_empty();
        let locked_by = locked_by.filter(|_| is_valid);
        let request = key.and_then(|key| {
            let token = fencing_token.map(|token| token.to_string());
            RequestId::new(
                key,
                self.reading.owner,
                [locked_by.as_ref().map(LockedBy::reveal), token.as_deref()],
            )
        });
        Ok(ReleaseFields {
            release: Release {
                request: request.filter(|_| is_valid),
                locked_by,
                fencing_token,
                address: None,
            },
            errors: (!is_valid).then_some(self.errors),
        })
    }

    /// What PATCH says.
    pub(super) fn renewal(mut self) -> Result<Renew, FieldErrors> {
        let locked_by = self.locked_by();
        let ttl = self.ttl();
        let label = match self.data.get("label") {
            // As with the ttl, null says nothing.
            Input::Missing | Input::Null => NewLabel::Kept,
            _ => NewLabel::Set(self.label()),
        };
        let fencing_token = self.fencing_token();
        self.renewal_of(locked_by, ttl, label, fencing_token)
    }

    /// What is said to renew everything that a key holds.
    pub(super) fn renewal_of_all(mut self) -> Result<Renew, FieldErrors> {
        let locked_by = self.locked_by();
        let ttl = self.ttl();
        self.renewal_of(locked_by, ttl, NewLabel::Kept, None)
    }

    fn renewal_of(
        self,
        locked_by: Option<LockedBy>,
        ttl: Option<Ttl>,
        label: NewLabel,
        fencing_token: Option<FencingToken>,
    ) -> Result<Renew, FieldErrors> {
        match locked_by {
            Some(locked_by) if self.errors.is_empty() => Ok(Renew {
                locked_by,
                ttl,
                label,
                fencing_token,
                address: None,
            }),
            _ => Err(self.errors),
        }
    }

    /// The key alone.
    pub(super) fn only_locked_by(mut self) -> Result<LockedBy, FieldErrors> {
        self.locked_by().ok_or(self.errors)
    }

    /// Why a lock is broken.
    pub(super) fn reason(mut self) -> Result<Reason, FieldErrors> {
        let reason = REASON.validate(self.data.get("reason"));
        let reason = self.errors.check("reason", reason);
        reason.and_then(|reason| Reason::new(&reason)).ok_or(self.errors)
    }

    /// The token of a grant that is checked.
    pub(super) fn checked_token(mut self) -> Result<FencingToken, FieldErrors> {
        let token = FENCING_TOKEN.validate_required(self.data.get("fencing_token"));
        let token = self.errors.check("fencing_token", token);
        token.map(FencingToken::new).ok_or(self.errors)
    }

    fn locked_by(&mut self) -> Option<LockedBy> {
        let locked_by = LOCKED_BY.validate(self.data.get("locked_by"));
        let locked_by = self.errors.check("locked_by", locked_by).and_then(LockedBy::new);
        let Reading { at_rest, owner, .. } = &self.reading;
        locked_by.map(|locked_by| at_rest.keep(locked_by.owned_by(owner.cloned())))
    }

    fn ttl(&mut self) -> Option<Ttl> {
        let ttl = ttl_field(self.reading.limits).validate(self.data.get("ttl"));
        let ttl = self.errors.check("ttl", ttl);
        ttl.flatten().and_then(|seconds| Ttl::from_seconds(seconds.into()))
    }

    fn label(&mut self) -> Option<Label> {
        let label = LABEL.validate_optional(self.data.get("label"));
        let label = self.errors.check("label", label).flatten();
        label.and_then(|label| Label::new(&label))
    }

    fn fencing_token(&mut self) -> Option<FencingToken> {
        let token = FENCING_TOKEN.validate(self.data.get("fencing_token"));
        let token = self.errors.check("fencing_token", token).flatten();
        token.map(FencingToken::new)
    }

    fn idempotency_key(&mut self) -> Option<&'d str> {
        let key = self.reading.idempotency_key?;
        let valid = IDEMPOTENCY_KEY.validate_exact(Input::FormText(key));
        self.errors.check("Idempotency-Key", valid).map(|_| key)
    }
}

/// What a query says of a state that is locked: a body is Terraform's own.
pub(super) struct StateLocking {
    pub(super) ttl: Option<Ttl>,
    /// How long to wait; `None` is not at all.
    pub(super) timeout: Option<Duration>,
}

impl StateLocking {
    /// Reads `?ttl=` and `?timeout=`.
    pub(super) fn read(query: &Query<'_>, limits: RequestLimits) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let ttl = errors.check("ttl", ttl_field(limits).validate(query.get("ttl")));
        let timeout = errors.check("timeout", timeout_field(limits).validate(query.get("timeout")));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            ttl: ttl
                .flatten()
                .map(i64::from)
                .and_then(Ttl::from_seconds)
                .or(default_ttl(limits)),
            timeout: wait_of(timeout.flatten()),
        })
    }
}

fn ttl_field(limits: RequestLimits) -> IntegerField {
    IntegerField {
        min_value: 1,
        max_value: limits.max_ttl,
    }
}

fn default_ttl(limits: RequestLimits) -> Option<Ttl> {
    limits.default_ttl.map(i64::from).and_then(Ttl::from_seconds)
}

fn timeout_field(limits: RequestLimits) -> IntegerField {
    IntegerField {
        min_value: 0,
        max_value: limits.max_timeout,
    }
}

/// As the original takes it, 0 is no timeout.
fn wait_of(timeout: Option<u32>) -> Option<Duration> {
    let seconds = timeout.filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds.into()))
}

/// For how long GET waits, and for what.
pub(super) struct Watching {
    pub(super) wait: Duration,
    /// The grant that the client knows of.
    pub(super) fencing_token: Option<FencingToken>,
}

impl Watching {
    /// Reads `?wait=` and `?fencing_token=`; `None` if it does not wait.
    pub(super) fn read(query: &Query<'_>, limits: RequestLimits) -> Result<Option<Self>, FieldErrors> {
        let mut errors = FieldErrors::default();
        let wait = timeout_field(limits).validate(query.get("wait"));
        let wait = errors.check("wait", wait).flatten();
        let token = FENCING_TOKEN.validate(query.get("fencing_token"));
        let token = errors.check("fencing_token", token).flatten();
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(wait_of(wait).map(|wait| Self {
            wait,
            fencing_token: token.map(FencingToken::new),
        }))
    }
}
