//! Which point a sample is of: (topic, series, name) to a point, by the site file's sources.
//!
//! Words: a *target* is what becomes of a named value: a point, nothing, or a refusal; a *shelf* holds the targets of one
//! series in the order in which they last came, so that a message like the one before costs one comparison a value.
//! Invariants: what is remembered is bounded ([`REMEMBERED_MAX`]) and can be made again from the site file; points are
//! bounded per source and per site; a topic that brings no point is not remembered.

use super::decode::{self, flex};
use super::points::{Origin, Points};
use crate::reading::PointId;
use crate::site::{Format, POINTS_MAX, Point, Source, SourceValue, TextTemplate, TopicTemplate, Undeclared, filter_matches, glob};
use crate::units::{Kind, Unit};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Targets remembered per site; beyond it all are forgotten and made again as they come.
pub const REMEMBERED_MAX: usize = 400_000;
/// Shelves longer than this have an index.
const INDEX_FROM: usize = 16;

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Index of a point.
    Point(u32),
    /// Passed over: undeclared, and the source says `ignore`.
    Ignored,
    Refused(&'static str),
}

/// The targets of one series.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// All names in one text, so that a message like the one before reads them in one go.
    names: String,
    /// Where each name ends, and its target.
    list: Vec<(u32, Target)>,
    index: HashMap<Box<str>, u32, RandomState>,
    next: usize,
}

impl Shelf {
    #[inline]
    fn is(&self, at: usize, key: &str) -> bool {
        let Some(&(end, _)) = self.list.get(at) else { return false };
        let from = at.checked_sub(1).and_then(|i| self.list.get(i)).map_or(0, |(end, _)| *end);
        let name = self.names.as_bytes().get(from as usize..end as usize).unwrap_or_default();
        // Nothing is asked of two empty names: comparing no bytes at no address can cost a hundred nanoseconds.
        name.len() == key.len() && (name.is_empty() || name == key.as_bytes())
    }

    /// The target of a name, where it is remembered.
    #[inline]
    pub fn find(&mut self, key: &str) -> Option<Target> {
        let at = match self.is(self.next, key) {
            true => self.next,
            false if self.list.len() > INDEX_FROM => *self.index.get(key)? as usize,
            false => (0..self.list.len()).find(|at| self.is(*at, key))?,
        };
        self.next = if at + 1 < self.list.len() { at + 1 } else { 0 };
        self.list.get(at).map(|(_, t)| *t)
    }

    fn put(&mut self, key: &str, target: Target) {
        self.names.push_str(key);
        self.list.push((self.names.len() as u32, target));
        if self.list.len() > INDEX_FROM {
            // The names that the index lacks: all of them at first, then the new one alone.
            let begin = self.index.len();
            let mut from = begin.checked_sub(1).and_then(|i| self.list.get(i)).map_or(0, |(end, _)| *end as usize);
            for (i, (end, _)) in self.list.iter().enumerate().skip(begin) {
                self.index.insert(self.names[from..*end as usize].into(), i as u32);
                from = *end as usize;
            }
        }
        self.next = 0;
    }
}

/// What is remembered of a topic.
#[derive(Debug, Default)]
struct Topic {
    source: u16,
    own: Shelf,
    series: HashMap<Box<str>, Shelf, RandomState>,
}

/// Where a topic is remembered; good until the next [`Router::resolve`] or [`Router::name`].
pub(super) type Place = u32;

/// A declared value, ready to make points.
struct Declared {
    value: SourceValue,
    kind: Kind,
    path: TextTemplate,
    object_type: TextTemplate,
    point_type: TextTemplate,
    object_id: TextTemplate,
    object_name: Option<TextTemplate>,
    serves_id: Vec<TextTemplate>,
    process_area: Vec<TextTemplate>,
}

/// A source, ready to work.
pub(super) struct Ready {
    pub source: Source,
    topic: Option<TopicTemplate>,
    declared: Vec<Declared>,
    undeclared: Declared,
    /// Signers' keys (`flex`).
    pub keys: flex::Keys,
    /// Points that it has brought in this process.
    brought: usize,
}

/// All sources of a site. See the module's text.
pub(super) struct Router {
    pub sources: Vec<Ready>,
    topics: HashMap<Box<str>, Place, RandomState>,
    places: Vec<Topic>,
    remembered: usize,
    /// Names that publishers have given to topics, without the topics' leading slashes.
    names: HashMap<Box<str>, Box<str>>,
}

/// A template of a checked site file; one that cannot be read gives no text, and its values are refused.
fn text(template: &str) -> TextTemplate {
    TextTemplate::parse(template).unwrap_or_default()
}

impl Declared {
    fn new(value: SourceValue) -> Declared {
        let kind = match &value.unit {
            Some(unit) => Unit::parse(unit).map_or(Kind::Opaque, |u| u.kind),
            None if value.state_text.is_empty() => Kind::Opaque,
            None => Kind::State,
        };
        Declared {
            kind,
            path: text(&value.path),
            object_type: text(&value.object_type),
            point_type: text(&value.point_type),
            object_id: text(&value.object_id),
            object_name: value.object_name.as_deref().map(text),
            serves_id: value.serves_id.iter().map(|s| text(s)).collect(),
            process_area: value.process_area.iter().map(|s| text(s)).collect(),
            value,
        }
    }

    fn means<'p>(&self, key: &str, part: impl Fn(&str) -> Option<&'p str>) -> bool {
        glob(&self.value.key, key) && self.value.when.iter().all(|(name, pattern)| part(name).is_some_and(|p| glob(pattern, p)))
    }
}

impl Router {
    pub fn new(sources: &[Source]) -> Router {
        let ready = |source: &Source| Ready {
            topic: source.topic.as_deref().and_then(|t| TopicTemplate::parse(t).ok()),
            declared: source.values.iter().cloned().map(Declared::new).collect(),
            undeclared: Declared::new(SourceValue::undeclared()),
            // A site file whose keys cannot be read does not start; without keys nothing is believed.
            keys: flex::Keys::parse(&source.keys).unwrap_or_default(),
            brought: 0,
            source: source.clone(),
        };
        Router {
            sources: sources.iter().map(ready).collect(),
            topics: HashMap::default(),
            places: Vec::new(),
            remembered: 0,
            names: HashMap::new(),
        }
    }

    /// Where a topic is remembered.
    pub fn place(&self, topic: &str) -> Option<Place> {
        self.topics.get(topic).copied()
    }

    /// The source that a topic belongs to, and where the topic is remembered.
    pub fn source_of(&self, topic: &str) -> (Option<usize>, Option<Place>) {
        let place = self.place(topic);
        match place.and_then(|p| self.places.get(p as usize)) {
            Some(t) => (Some(usize::from(t.source)), place),
            None => (self.sources.iter().position(|s| filter_matches(&s.source.filter, topic)), None),
        }
    }

    /// The shelf of a series; `None` where nothing is remembered of it.
    pub fn shelf(&mut self, place: Option<Place>, series: Option<&str>) -> Option<&mut Shelf> {
        let topic = self.places.get_mut(place? as usize)?;
        match series {
            None => Some(&mut topic.own),
            Some(s) => topic.series.get_mut(s),
        }
    }

    /// Takes in the name of a topic; the topic's points are described anew. False = too many names.
    pub fn name(&mut self, topic: &str, name: &str) -> bool {
        let bare = topic.trim_start_matches('/');
        if self.names.get(bare).is_some_and(|n| **n == *name) {
            return true;
        }
        if self.names.len() >= POINTS_MAX {
            return false;
        }
        self.names.insert(bare.into(), name.into());
        self.topics.remove(bare);
        self.topics.remove(format!("/{bare}").as_str());
        true
    }

    /// Finds or makes the target of a name that is not remembered, and remembers it.
    pub fn resolve(&mut self, which: usize, topic: &str, series: Option<&str>, key: &str, points: &mut Points) -> (Target, bool) {
        let (target, changed) = match self.sources.get_mut(which) {
            Some(ready) => {
                let known_as = self.names.get(topic.trim_start_matches('/')).map(|n| &**n);
                ready.target(which, (topic, known_as), series, key, points)
            }
            None => (Target::Refused("topic of no source"), false),
        };
        if matches!(target, Target::Refused(_)) && self.shelf(self.place(topic), series).is_none() {
            return (target, changed);
        }
        if self.remembered >= REMEMBERED_MAX {
            self.topics.clear();
            self.places.clear();
            self.remembered = 0;
        }
        self.remembered += 1;
        let next = self.places.len() as Place;
        let place = *self.topics.entry(topic.into()).or_insert(next);
        if place == next {
            self.places.push(Topic { source: which as u16, ..Topic::default() });
        }
        let Some(entry) = self.places.get_mut(place as usize) else { return (target, changed) };
        let shelf = match series {
            None => &mut entry.own,
            Some(s) => entry.series.entry(s.into()).or_default(),
        };
        shelf.put(key, target);
        (target, changed)
    }
}

impl Ready {
    fn target(
        &mut self,
        which: usize,
        topic: (&str, Option<&str>),
        series: Option<&str>,
        key: &str,
        points: &mut Points,
    ) -> (Target, bool) {
        match self.point(which, topic, series, key, points) {
            Ok(Some((index, changed))) => (Target::Point(index), changed),
            Ok(None) => (Target::Ignored, false),
            Err(reason) => (Target::Refused(reason), false),
        }
    }

    fn point(
        &mut self,
        which: usize,
        (topic, known_as): (&str, Option<&str>),
        series: Option<&str>,
        key: &str,
        points: &mut Points,
    ) -> Result<Option<(u32, bool)>, &'static str> {
        let mut of_topic = Vec::new();
        if let Some(template) = &self.topic
            && self.source.format != Format::Sparkplug
        {
            of_topic = template.parts(topic).ok_or("topic not as the source's template")?;
        }
        let named = decode::named(&self.source, topic, series)?;
        let of_topic = |name: &str| of_topic.iter().find(|(n, _)| *n == name).map(|(_, t)| *t);
        let key = if key.is_empty() { of_topic("key").or(named.key).unwrap_or_default() } else { key };
        let part = |name: &str| match name {
            "key" => Some(key),
            "topic" => Some(topic),
            "series" => Some(named.series.as_str()),
            "name" if known_as.is_some() => known_as,
            _ => of_topic(name).or_else(|| named.parts.iter().find(|(n, _)| *n == name).map(|(_, t)| t.as_ref())),
        };
        let declared = self.declared.iter().find(|d| d.means(key, part));
        let d = match (declared, self.source.undeclared) {
            (Some(d), _) => d,
            (None, Undeclared::Take) => &self.undeclared,
            (None, Undeclared::Ignore) => return Ok(None),
            (None, Undeclared::Refuse) => return Err("value not declared in the site file"),
        };
        let lacking = "message lacks a part that its point's texts need";
        let fill = |t: &TextTemplate| t.fill(part).ok_or(lacking);
        let path = fill(&d.path)?;
        let known = points.index(&path);
        let mine = Origin::Source(which as u16);
        let origin = known.and_then(|i| points.slot(i)).map(|slot| slot.origin);
        match origin {
            Some(Origin::Dsx) => return Err("point belongs to the BMS"),
            Some(Origin::Source(_)) if origin != Some(mine) => return Err("point belongs to another source"),
            Some(_) => {}
            None if self.brought >= self.source.max_points => return Err("too many points of a source"),
            None => {}
        }
        let object_id = fill(&d.object_id)?;
        let all = |ts: &[TextTemplate]| ts.iter().map(fill).collect::<Result<Vec<_>, _>>();
        let point = Point {
            id: PointId(0),
            path,
            object_type: fill(&d.object_type)?,
            point_type: fill(&d.point_type)?,
            kind: d.kind,
            eng_unit: d.value.unit.clone().unwrap_or_default(),
            state_text: d.value.state_text.clone(),
            object_name: d.object_name.as_ref().map_or_else(|| Ok(object_id.clone()), fill)?,
            object_id,
            associated: false,
            serves_id: all(&d.serves_id)?,
            process_area: all(&d.process_area)?,
            is_setpoint: d.value.is_setpoint,
            integration: String::new(),
            scope: String::new(),
            phase: d.value.phase.clone(),
        };
        let (index, changed) = points.learn(point, mine, d.value.scale).ok_or("too many points")?;
        if origin != Some(mine) {
            self.brought += 1;
        }
        Ok(Some((index, changed)))
    }
}
