//! The report's words in English, Spanish and Catalan. Fields' names are in the packs; this is the rest.

use clap::ValueEnum;
use serde::Serialize;

/// A language of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    #[default]
    En,
    Es,
    Ca,
}

/// (key, English, Spanish, Catalan). `{}` stand for parts in order.
const WORDS: &[(&str, &str, &str, &str)] = &[
    ("period", "Period", "Periodo", "Període"),
    ("sites", "Sites", "Emplazamientos", "Emplaçaments"),
    ("version", "Version", "Versión", "Versió"),
    ("made", "Made on", "Elaborado el", "Elaborat el"),
    ("pack", "Definitions", "Definiciones", "Definicions"),
    ("field", "Field", "Campo", "Camp"),
    ("scope", "Scope", "Ámbito", "Àmbit"),
    ("value", "Value", "Valor", "Valor"),
    ("unit", "Unit", "Unidad", "Unitat"),
    ("u95", "± (95 %)", "± (95 %)", "± (95 %)"),
    ("coverage", "Coverage", "Cobertura", "Cobertura"),
    ("estimated", "Estimated", "Estimado", "Estimat"),
    ("status", "From", "Origen", "Origen"),
    ("boundary", "Boundary", "Límite", "Límit"),
    ("meters", "Meters", "Contadores", "Comptadors"),
    ("citation", "Citation", "Cita", "Citació"),
    ("note", "Note", "Nota", "Nota"),
    ("section", "Section", "Sección", "Secció"),
    ("metered", "metered", "medido", "mesurat"),
    ("answered", "answered", "respondido", "respost"),
    ("derived", "derived", "derivado", "derivat"),
    ("missing", "missing", "falta", "falta"),
    ("group", "group", "grupo", "grup"),
    ("figures", "Figures", "Cifras", "Xifres"),
    ("behind", "What stands behind each figure", "Qué hay detrás de cada cifra", "Què hi ha darrere de cada xifra"),
    ("register", "Annex: meter register", "Anexo: registro de contadores", "Annex: registre de comptadors"),
    ("gaps", "Annex: gaps and what was done about them", "Anexo: huecos y su tratamiento", "Annex: buits i el seu tractament"),
    ("events", "Annex: what happened to the counters", "Anexo: incidencias de los contadores", "Annex: incidències dels comptadors"),
    ("changes", "Changes since version {}", "Cambios desde la versión {}", "Canvis des de la versió {}"),
    ("notes", "Notes", "Notas", "Notes"),
    (
        "answer_me",
        "no meter feeds it: answer it in sensors/{}/report.toml, [answers] {}",
        "ningún contador lo alimenta: respóndalo en sensors/{}/report.toml, [answers] {}",
        "cap comptador l'alimenta: responeu-lo a sensors/{}/report.toml, [answers] {}",
    ),
    (
        "no_meter",
        "{}: no meter with the role {} has readings",
        "{}: ningún contador con la función {} tiene lecturas",
        "{}: cap comptador amb la funció {} té lectures",
    ),
    ("no_series", "{}: no series `{}` in report.toml", "{}: falta la serie `{}` en report.toml", "{}: falta la sèrie `{}` a report.toml"),
    (
        "parts",
        "no supply meter: sum of what is behind it",
        "sin contador de suministro: suma de lo que hay detrás",
        "sense comptador de subministrament: suma del que hi ha darrere",
    ),
    (
        "b_supply",
        "before the transfer switchgear, all supplies",
        "antes del conmutador de transferencia, todos los suministros",
        "abans del commutador de transferència, tots els subministraments",
    ),
    (
        "b_behind",
        "IT, losses, cooling and other, metered apart",
        "informática, pérdidas, refrigeración y otros, medidos por separado",
        "informàtica, pèrdues, refrigeració i altres, mesurats per separat",
    ),
    ("b_generator", "back-up generators", "generadores de reserva", "generadors de reserva"),
    ("b_ups_out", "UPS outputs (category 1)", "salida de los SAI (categoría 1)", "sortida dels SAI (categoria 1)"),
    ("b_pdu_out", "PDU outputs (category 2)", "salida de las PDU (categoría 2)", "sortida de les PDU (categoria 2)"),
    ("b_it_in", "inputs of the IT equipment (category 3)", "entrada de los equipos (categoría 3)", "entrada dels equips (categoria 3)"),
    ("b_site", "the site", "el emplazamiento", "l'emplaçament"),
    ("b_water", "water that enters the site", "agua que entra en el emplazamiento", "aigua que entra a l'emplaçament"),
    ("b_heat", "heat handed over at the exchanger", "calor entregado en el intercambiador", "calor lliurada a l'intercanviador"),
    ("b_outdoor", "outdoor air at the site", "aire exterior del emplazamiento", "aire exterior de l'emplaçament"),
    (
        "b_racks",
        "racks of the partition, with their share of all overhead",
        "bastidores de la partición, con su parte de los gastos generales",
        "bastidors de la partició, amb la seva part de les despeses generals",
    ),
    ("cat_note", "IT energy of PUE category {}", "energía informática de PUE categoría {}", "energia informàtica de PUE categoria {}"),
    (
        "missing_hours",
        "{} % of the meters' time is missing and adds nothing: a lower bound",
        "falta el {} % del tiempo de los contadores y no suma nada: cota inferior",
        "falta el {} % del temps dels comptadors i no suma res: cota inferior",
    ),
    ("class_unknown", "accuracy class not stated", "clase de precisión no declarada", "classe de precisió no declarada"),
    (
        "signal_filled",
        "{} % of the signal's hours were filled in",
        "se completó el {} % de las horas de la señal",
        "es va completar el {} % de les hores del senyal",
    ),
    (
        "weighted",
        "mean over sites, weighted by {}",
        "media de los emplazamientos, ponderada por {}",
        "mitjana dels emplaçaments, ponderada per {}",
    ),
    (
        "market_note",
        "what guarantees of origin, purchase agreements and on-site generation cover counts as 0",
        "lo cubierto por garantías de origen, contratos y generación in situ cuenta como 0",
        "el que cobreixen garanties d'origen, contractes i generació in situ compta com a 0",
    ),
    ("device", "Device", "Equipo", "Equip"),
    ("role", "Role", "Función", "Funció"),
    ("class", "Class, %", "Clase, %", "Classe, %"),
    ("calibrated", "Calibrated", "Calibrado", "Calibrat"),
    ("since", "Since", "Desde", "Des de"),
    ("until", "Until", "Hasta", "Fins a"),
    ("meter", "Meter", "Contador", "Comptador"),
    ("from", "From", "Desde", "Des de"),
    ("to", "To", "Hasta", "Fins a"),
    ("rule", "Rule", "Regla", "Regla"),
    ("what", "What", "Qué", "Què"),
    ("before", "Before", "Antes", "Abans"),
    ("after", "After", "Después", "Després"),
    ("points", "Points", "Puntos", "Punts"),
    ("counted", "counter went on: measured", "el contador siguió: medido", "el comptador va continuar: mesurat"),
    (
        "counted_over_edge",
        "counter over the period's edge: shared by time",
        "contador sobre el borde del periodo: repartido",
        "comptador sobre la vora del període: repartit",
    ),
    ("straight_line", "straight line", "línea recta", "línia recta"),
    ("similar_days", "mean of similar days", "media de días similares", "mitjana de dies similars"),
    ("rule_missing", "missing: adds nothing", "falta: no suma nada", "falta: no suma res"),
    ("roll_over", "rolled over", "vuelta a cero", "volta a zero"),
    ("reset", "reset", "reiniciado", "reiniciat"),
    ("installed", "installed", "instalado", "instal·lat"),
    ("removed", "removed", "retirado", "retirat"),
    ("not_stated", "not stated", "no declarado", "no declarat"),
    ("c_duration", "Load duration curve", "Curva de duración de la carga", "Corba de durada de la càrrega"),
    ("c_pue", "PUE by outdoor temperature", "PUE según la temperatura exterior", "PUE segons la temperatura exterior"),
    ("c_balance", "Energy balance", "Balance de energía", "Balanç d'energia"),
    ("c_water", "Water by month", "Agua por mes", "Aigua per mes"),
    ("c_carbon", "CO2 by local hour, mean day", "CO2 por hora local, día medio", "CO2 per hora local, dia mitjà"),
    ("c_gpu", "Energy per GPU-hour by partition", "Energía por hora de GPU y partición", "Energia per hora de GPU i partició"),
    ("c_savings", "Saving by month, 95 % interval", "Ahorro por mes, intervalo del 95 %", "Estalvi per mes, interval del 95 %"),
    ("x_share", "share of the period, %", "proporción del periodo, %", "proporció del període, %"),
    ("x_outdoor", "outdoor dry bulb, °C", "temperatura seca exterior, °C", "temperatura seca exterior, °C"),
    ("x_hour", "local hour", "hora local", "hora local"),
    ("x_month", "month", "mes", "mes"),
    ("total", "total", "total", "total"),
    ("it", "IT", "informática", "informàtica"),
    ("cooling", "cooling", "refrigeración", "refrigeració"),
    ("losses", "losses", "pérdidas", "pèrdues"),
    ("other", "other", "otros", "altres"),
    ("unattributed", "not attributed", "sin atribuir", "sense atribuir"),
    ("jobs", "jobs", "trabajos", "treballs"),
    ("idle", "idle", "reposo", "repòs"),
    ("overhead", "overhead", "gastos generales", "despeses generals"),
    ("not_in_jobs", "allocated, not in the jobs' file", "asignado, fuera del fichero de trabajos", "assignat, fora del fitxer de treballs"),
    ("potable", "potable", "potable", "potable"),
    ("location", "location-based", "según ubicación", "segons ubicació"),
    ("market", "market-based", "según mercado", "segons mercat"),
    ("allocated", "allocated", "asignada", "assignada"),
    ("active", "active", "activa", "activa"),
    ("useful", "useful", "útil", "útil"),
    ("reconciliation", "Reconciliation with the meter", "Conciliación con el contador", "Conciliació amb el comptador"),
    ("difference", "difference", "diferencia", "diferència"),
    ("groups", "By group of users", "Por grupo de usuarios", "Per grup d'usuaris"),
    (
        "job_table",
        "The largest jobs (all of them in jobs.csv)",
        "Los trabajos mayores (todos en jobs.csv)",
        "Els treballs més grans (tots a jobs.csv)",
    ),
    ("partition", "partition", "partición", "partició"),
    ("no_jobs", "no jobs' file in report.toml", "sin fichero de trabajos en report.toml", "sense fitxer de treballs a report.toml"),
    (
        "marginal_note",
        "slope of hourly changes, n = {}",
        "pendiente de los cambios horarios, n = {}",
        "pendent dels canvis horaris, n = {}",
    ),
    ("meter_kwh", "meter", "contador", "comptador"),
    ("page", "page {} of {}", "página {} de {}", "pàgina {} de {}"),
    ("signature", "Signed by", "Firmado por", "Signat per"),
    ("energy", "energy, kWh", "energía, kWh", "energia, kWh"),
];

impl Lang {
    pub const ALL: [Lang; 3] = [Lang::En, Lang::Es, Lang::Ca];

    pub fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Es => "es",
            Lang::Ca => "ca",
        }
    }

    /// A word; the key itself where there is none, which a test forbids.
    pub fn t(self, key: &str) -> String {
        let word = WORDS.iter().find(|w| w.0 == key);
        word.map_or(key, |w| match self {
            Lang::En => w.1,
            Lang::Es => w.2,
            Lang::Ca => w.3,
        })
        .to_owned()
    }

    /// A sentence with its parts in place.
    pub fn say(self, key: &str, parts: &[&str]) -> String {
        let mut out = String::new();
        let text = self.t(key);
        let mut pieces = text.split("{}");
        out.push_str(pieces.next().unwrap_or(""));
        for (i, piece) in pieces.enumerate() {
            out.push_str(parts.get(i).copied().unwrap_or(""));
            out.push_str(piece);
        }
        out
    }

    /// A number with the language's decimal sign, thin groups of three, and so many digits after the sign.
    pub fn number(self, v: f64, digits: usize) -> String {
        let plain = format!("{v:.digits$}");
        let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
        let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |w| ("−", w));
        let mut grouped = String::new();
        for (i, c) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i) % 3 == 0 && whole.len() > 4 {
                grouped.push('\u{202f}');
            }
            grouped.push(c);
        }
        let point = if self == Lang::En { "." } else { "," };
        if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}{point}{rest}") }
    }

    /// A value as a person reads it: about five digits.
    pub fn value(self, v: f64) -> String {
        let digits = match v.abs() {
            a if a >= 1000.0 => 0,
            a if a >= 100.0 => 1,
            a if a >= 10.0 => 2,
            a if a >= 1.0 => 3,
            0.0 => 0,
            _ => 4,
        };
        self.number(v, digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_three_languages_with_the_same_parts() {
        for (key, en, es, ca) in WORDS {
            let parts = |t: &str| t.matches("{}").count();
            assert!(!en.is_empty() && parts(en) == parts(es) && parts(es) == parts(ca), "{key}");
            assert_eq!(WORDS.iter().filter(|w| w.0 == *key).count(), 1, "{key} is there twice");
        }
    }

    #[test]
    fn numbers_are_written_as_people_do() {
        assert_eq!(Lang::En.number(-1_234_567.891, 1), "−1\u{202f}234\u{202f}567.9");
        assert_eq!(Lang::Ca.value(1.2345), "1,234");
        assert_eq!(Lang::Es.value(0.0), "0");
    }
}
