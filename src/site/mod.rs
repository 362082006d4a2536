//! What is known of a site: its points (from metadata) and its site file (what metadata cannot say).
//!
//! Words: a *point* is one thing that is measured or set, known by its path; the *catalogue* numbers the points of one
//! site; a *selector* picks points by meaning (object type, point type, process area, what they serve), never by the
//! text of a tag path; a *role* is a name that the controller knows, bound to a selector; a *site file* is
//! `sensors/<site>/site.toml`; a *source* says which format a topic filter speaks.
//! Invariants: nothing about a plant is code; a point's identity is its path; the catalogue only grows.

mod alert;
mod bounds;
mod catalogue;
mod classes;
mod control;
mod file;
mod placement;
mod point;
mod reserve;
mod selector;
mod source;
mod template;

pub use alert::{Alert, AlertSeverity};
pub use catalogue::{Catalogue, POINTS_MAX};
pub use classes::{Class, Classes, ClassesError};
pub use control::{Control, Objective, Signals, StartMode, Weights};
pub use file::{Actuator, Bus, ClockSource, Combine, Limit, Loop, Meter, MeterBoundary, Role, SiteFile, SiteFileError, SiteName};
pub use placement::{CapKind, Domain, Energy, Partition, PowerCap, RackNodes, hosts, names_rack};
pub use point::{Point, StateText};
pub use reserve::{Left, Reserve};
pub use selector::Selector;
pub use source::{Format, SOURCE_POINTS, Source, SourceValue, TimeUnit, Undeclared};
pub use template::{TextTemplate, TopicTemplate, filter_matches, glob};
