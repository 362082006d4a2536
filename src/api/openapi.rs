//! `openapi.json`: the contract, made from the handlers themselves.

use super::{access, acts, events, metrics, placement, reports, routes};
use axum::Json;
use serde_json::{Value, json};
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tramuntana",
        description = "Thermal load, cooling setpoints and placement hints of connected sites. Instants are epoch milliseconds on the site's clock; errors are RFC 9457 problems."
    ),
    paths(
        routes::sites,
        routes::site,
        routes::overview,
        routes::topology,
        routes::points,
        routes::series,
        routes::forecasts,
        routes::recommendations,
        routes::recommendation,
        placement::hints,
        placement::rank,
        placement::occupancy,
        placement::slurm,
        placement::filter,
        placement::prioritize,
        routes::kpis,
        routes::ledger,
        routes::audit,
        routes::alarms,
        acts::acknowledge,
        access::session,
        access::login,
        routes::health,
        routes::refusals,
        routes::demo,
        acts::approve,
        acts::mode,
        acts::hold,
        acts::pin,
        reports::list,
        reports::order,
        reports::one,
        reports::file,
        events::events,
        metrics::serve,
        serve,
    )
)]
struct Document;

/// The OpenAPI document, complete: made from the handlers, with what holds for all of them put in.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    complete(&mut document);
    document
}

/// Bounds of parameters that have the same ones wherever they occur; a path's own stand in [`LIMITS`].
fn bounds(path: &str, name: &str) -> Value {
    match name {
        "limit" => json!({ "minimum": 1, "maximum": LIMITS.iter().find(|l| path.ends_with(l.0)).map_or(1_000, |l| l.1) }),
        "hours" => json!({ "minimum": 0.25, "maximum": 168 }),
        "wait" => json!({ "minimum": 0, "maximum": 25 }),
        "from" | "to" if path.ends_with("/series") => json!({ "pattern": INSTANT, "maxLength": 40 }),
        "from" | "to" => json!({ "minimum": 0, "maximum": 253_402_300_799_000_i64 }),
        "step" => json!({ "pattern": "^(|[1-9][0-9]{0,8}(s|min|h|d)?)$" }),
        "cursor" => json!({ "pattern": "^(|[^:]+:[0-9]{1,9})$", "maxLength": 1_000 }),
        "site" | "point" => json!({ "pattern": "\\S", "maxLength": 1_000 }),
        _ => json!({ "maxLength": 1_000 }),
    }
}

/// Greatest `limit` by the end of the path, where it is not 1,000.
const LIMITS: [(&str, u32); 4] = [("/points", 2_000), ("/audit", 10_000), ("/ledger", 10_000), ("/alarms", 10_000)];
/// Epoch ms, or a date with or without a time.
const INSTANT: &str = "^(|[0-9]{1,14}|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])(T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)?)$";
/// A year, or two dates or instants.
const PERIOD: &str = "^([0-9]{4}|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{5,12}(Z|[+-][0-9]{2}:[0-9]{2}))?\\.\\.[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{5,12}(Z|[+-][0-9]{2}:[0-9]{2}))?)$";

/// Puts in what the handlers share: every operation may answer with a problem; parameters and bodies have bounds.
fn complete(document: &mut Value) {
    let problem = json!({
        "description": "A problem (RFC 9457): the field, what was wrong with it, and how to mend it",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } }
    });
    for (path, item) in document.pointer_mut("/paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for operation in item.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
            if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
                responses.entry("default").or_insert_with(|| problem.clone());
            }
            if path.starts_with("/k8s/") {
                operation["requestBody"]["content"]["application/json"]["schema"] = extender_args();
            }
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default().to_owned();
                // An optional one that is empty counts as absent.
                if matches!(name.as_str(), "site" | "point") && parameter["required"] != true {
                    continue;
                }
                if let (Some(schema), Value::Object(more)) =
                    (parameter.get_mut("schema").and_then(Value::as_object_mut), bounds(path, &name))
                {
                    schema.retain(|k, _| !more.contains_key(k));
                    // A parameter is there or not; it is never null.
                    if let Some(Value::Array(types)) = schema.get_mut("type") {
                        types.retain(|t| t != "null");
                    }
                    schema.extend(more);
                }
            }
        }
    }
    let file = "/paths/~1api~1v1~1reports~1{id}~1files~1{name}/get/responses/200/content";
    if let Some(content) = document.pointer_mut(file) {
        let bytes = json!({ "schema": { "type": "string", "format": "binary" } });
        *content = reports::MEDIA_TYPES.iter().map(|t| ((*t).to_owned(), bytes.clone())).collect::<serde_json::Map<_, _>>().into();
    }
    let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    let Some(schemas) = schemas else { return };
    for name in ["Act", "ModeAct", "HoldAct", "PinAct", "ReportOrder"] {
        let Some(schema) = schemas.get_mut(name) else { continue };
        // With a token the name comes from it; without one it must be given, so a client that gives it is always right.
        schema["properties"]["who"]["pattern"] = json!("\\S");
        schema["properties"]["who"]["maxLength"] = json!(100);
        schema["properties"]["why"]["maxLength"] = json!(1_000);
        if let Some(required) =
            schema.as_object_mut().map(|s| s.entry("required").or_insert_with(|| json!([]))).and_then(Value::as_array_mut)
        {
            required.push(json!("who"));
        }
    }
    if let Some(order) = schemas.get_mut("ReportOrder") {
        let properties = &mut order["properties"];
        properties["pack"]["pattern"] = json!("^[a-z0-9][a-z0-9-]{0,59}$");
        properties["period"]["pattern"] = json!(PERIOD);
        properties["lang"]["enum"] = json!(["en", "es", "ca"]);
        properties["site"]["maxLength"] = json!(1_000);
    }
    if let Some(jobs) = schemas.get_mut("RankAsk").and_then(|s| s.pointer_mut("/properties/jobs")) {
        jobs["minItems"] = json!(1);
        jobs["maxItems"] = json!(10_000);
    }
    if let Some(ask) = schemas.get_mut("RankAsk") {
        // A topology belongs to one site.
        ask["dependentRequired"] = json!({ "topology": ["site"] });
        for name in ["site", "topology"] {
            ask["properties"][name] = json!({ "type": "string", "pattern": "\\S", "maxLength": 1_000 });
        }
    }
    if let Some(slack) = schemas.get_mut("JobOccupancy").and_then(|s| s.pointer_mut("/properties/slack_h")) {
        slack["minimum"] = json!(0);
        slack["maximum"] = json!(8_760);
    }
    if let Some(source) = schemas.get_mut("Occupancy").and_then(|s| s.pointer_mut("/properties/source")) {
        source["pattern"] = json!("\\S");
        source["maxLength"] = json!(100);
    }
}

/// What kube-scheduler sends: its `ExtenderArgs`, as far as they are read.
fn extender_args() -> Value {
    json!({
        "type": "object",
        "required": ["Pod", "NodeNames"],
        "properties": {
            "Pod": { "type": "object" },
            "NodeNames": { "type": "array", "items": { "type": "string" } }
        }
    })
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn serve() -> Json<Value> {
    Json(document())
}
