//! The bodies of requests: the fields that `serializers` reads, in its order.
//! Nothing is ever read into these types, which are for the document alone.

use utoipa::ToSchema;
use utoipa::openapi::schema::{ComponentsBuilder, SchemaType, Type};
use utoipa::openapi::{Components, RefOr, Schema};

use super::fields;

/// What PUT reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Acquire {
    #[schema(schema_with = fields::locked_by)]
    locked_by: String,
    #[schema(schema_with = fields::ttl)]
    ttl: Option<u32>,
    #[schema(schema_with = fields::timeout)]
    timeout: Option<u32>,
    #[schema(schema_with = fields::label)]
    label: Option<String>,
}

/// What POST to `/locks/` reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct AcquireTogether {
    #[schema(schema_with = fields::names)]
    resources: Vec<String>,
    #[schema(schema_with = fields::locked_by)]
    locked_by: String,
    #[schema(schema_with = fields::ttl)]
    ttl: Option<u32>,
    #[schema(schema_with = fields::timeout)]
    timeout: Option<u32>,
    #[schema(schema_with = fields::label)]
    label: Option<String>,
}

/// What PATCH of one resource reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Renew {
    #[schema(schema_with = fields::locked_by)]
    locked_by: String,
    #[schema(schema_with = fields::renewed_ttl)]
    ttl: Option<u32>,
    #[schema(schema_with = fields::renewed_label)]
    label: Option<String>,
    #[schema(schema_with = fields::fencing_token)]
    fencing_token: Option<i64>,
}

/// What DELETE of one resource reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Release {
    #[schema(schema_with = fields::locked_by)]
    locked_by: String,
    #[schema(schema_with = fields::fencing_token)]
    fencing_token: Option<i64>,
}

/// What `check` reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Check {
    #[schema(schema_with = fields::checked_token)]
    fencing_token: i64,
}

/// What `break` reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Break {
    #[schema(schema_with = fields::reason)]
    reason: String,
}

/// What LOCK of a state reads: Terraform's LockInfo.
#[derive(ToSchema)]
#[schema(rename_all = "PascalCase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct StateLock {
    #[schema(rename = "ID", schema_with = fields::state_lock_id)]
    id: String,
    #[schema(schema_with = fields::state_lock_text)]
    operation: Option<String>,
    #[schema(schema_with = fields::state_lock_text)]
    info: Option<String>,
    #[schema(schema_with = fields::state_lock_text)]
    who: Option<String>,
    #[schema(schema_with = fields::state_lock_text)]
    version: Option<String>,
    #[schema(schema_with = fields::state_lock_text)]
    created: Option<String>,
    #[schema(schema_with = fields::state_lock_text)]
    path: Option<String>,
}

/// What UNLOCK of a state reads; Terraform sends the same as with LOCK.
#[derive(ToSchema)]
#[schema(rename_all = "PascalCase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct StateUnlock {
    #[schema(rename = "ID", schema_with = fields::state_lock_id)]
    id: String,
}

/// What POST to `/tokens/` reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct CreateToken {
    #[schema(schema_with = fields::token_name)]
    name: String,
    #[schema(schema_with = fields::token_verbs)]
    verbs: Option<Vec<String>>,
    #[schema(schema_with = fields::token_prefixes)]
    prefixes: Option<Vec<String>>,
    #[schema(schema_with = fields::token_expires_in)]
    expires_in: Option<u32>,
}

/// What PATCH of all reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct RenewAll {
    #[schema(schema_with = fields::locked_by)]
    locked_by: String,
    #[schema(schema_with = fields::renewed_ttl)]
    ttl: Option<u32>,
}

/// What DELETE of all reads.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct ReleaseAll {
    #[schema(schema_with = fields::locked_by)]
    locked_by: String,
}

/// What the same is called where it comes as a form.
pub(super) fn form_name<T: ToSchema>() -> String {
    format!("{}Form", T::name())
}

/// The same as a form, which has no null.
fn form<T: ToSchema>() -> RefOr<Schema> {
    let mut schema = T::schema();
    if let RefOr::T(Schema::Object(body)) = &mut schema {
        for field in body.properties.values_mut() {
            if let RefOr::T(Schema::Object(field)) = field
                && let SchemaType::Array(types) = &field.schema_type
                && let Some(of_values) = types.iter().find(|one| **one != Type::Null)
            {
                field.schema_type = SchemaType::Type(of_values.clone());
            }
        }
    }
    schema
}

pub(super) fn components(components: Components) -> Components {
    fn with<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
        components.schema_from::<T>().schema(form_name::<T>(), form::<T>())
    }
    let components = ComponentsBuilder::from(components);
    let components = with::<StateUnlock>(with::<StateLock>(with::<Break>(components)));
    let components = with::<Check>(with::<Release>(with::<Renew>(with::<Acquire>(components))));
    let components = with::<CreateToken>(ComponentsBuilder::from(components.build()));
    with::<AcquireTogether>(with::<ReleaseAll>(with::<RenewAll>(components))).build()
}
