// The page's words in Spanish and Catalan, by their English; {0}, {1} … are filled in. What the service itself writes (reasons, alarms,
// names) comes as the service has it.
"use strict";

const WORDS = {
  es: {
    "Compare": "Comparar", "Compare {0}": "Comparar {0}", "{0} points": "{0} puntos", "mean": "media", "max": "máx.", "min": "mín.", "marked": "marcadas", "all good": "todas buenas", "Time shown": "Tiempo mostrado", "Earlier": "Antes", "Later": "Después", "Zoom in": "Acercar", "Zoom out": "Alejar", "Newest": "Lo más reciente", "Drag over a chart to zoom.": "Arrastre sobre un gráfico para acercar.",
    "Skip to the sites": "Ir a los centros", "Cooling and placement": "Refrigeración y asignación", "Connecting": "Conectando", "Past": "Pasado", "Sign out": "Cerrar sesión", "Language": "Idioma",
    "Fixed setpoints against recommendations": "Consignas fijas frente a recomendaciones", "Placement hints": "Dónde asignar trabajos", "What operators did": "Qué hicieron los operadores", "Nothing yet.": "Nada todavía.",
    "Any point": "Cualquier punto", "Site": "Centro", "Search": "Buscar", "words in path, name, area, unit": "palabras de la ruta, nombre, zona, unidad", "Point": "Punto", "Value": "Valor", "Age": "Edad", "Quality": "Calidad",
    "Pick a point to see its history.": "Elija un punto para ver su historia.", "Metrics": "Métricas", "Health": "Estado", "Refused messages": "Mensajes rechazados", "Times are UTC, on the site's clock.": "Horas en UTC, según el reloj del centro.",
    "Who": "Quién", "Why": "Por qué", "Cancel": "Cancelar", "Confirm": "Confirmar", "Sign in": "Iniciar sesión", "This service asks who is there.": "Este servicio pregunta quién hay.", "Token": "Token", "Days": "Días",
    "{0} % against baseline {1} {2}": "{0} % frente a la referencia {1} {2}", "no baseline known": "sin referencia conocida", "Link": "Enlace", "Held": "Retenido", "held": "retenido", "Mode": "Modo", "{0} old": "{0} de antigüedad", "no clock yet": "aún sin reloj",
    "up": "activo", "down": "caído", "connecting": "conectando", "auto": "automático", "advise": "consejo", "shadow": "sombra", "warming": "calentando", "learning": "aprendiendo", "guarded": "protegido", "fail-safe": "a prueba de fallos",
    "IT power": "Potencia TI", "Cooling power": "Potencia de refrigeración", "Energy now": "Energía ahora", "Energy today": "Energía hoy", "Readings in": "Lecturas", "{0} GPUs allocated": "{0} GPU asignadas", "now": "ahora", "{0} refused · {1} points": "{0} rechazadas · {1} puntos",
    "Recommendation for {0}": "Recomendación para {0}", "Recommendation": "Recomendación", "None yet.": "Ninguna todavía.", "Loading.": "Cargando.",
    "Expected over {0} h: saves {1} ± {2} kWh against the fixed setpoints, {3} kWh against holding": "Previsto en {0} h: ahorra {1} ± {2} kWh frente a las consignas fijas, {3} kWh frente a mantener",
    "least margin {0} to {1}": "margen mínimo {0} hasta {1}", "no plan keeps every limit with its margin: this is the least violating way": "ningún plan respeta todos los límites con su margen: este es el que menos los incumple",
    "Recommendation · {0} · made {1}, valid until {2}": "Recomendación · {0} · hecha a las {1}, válida hasta las {2}", "waiting": "en espera", "approved": "aprobada", "published": "publicada", "in force": "en vigor", "refused": "rechazada", "lapsed": "caducada", "superseded": "sustituida", "recorded": "registrada",
    "Setpoint": "Consigna", "From": "Desde", "Asked now": "Pedido ahora", "Target": "Objetivo", "Reason": "Motivo", "Withheld by the checker": "Retenido por el verificador", "Send recommendation {0} to {1}.": "Enviar la recomendación {0} a {1}.",
    "Approve": "Aprobar", "Release the hold": "Soltar la retención", "setpoints may move again.": "las consignas pueden moverse de nuevo.", "Hold": "Retener", "keep the setpoints as they are until released.": "mantener las consignas como están hasta soltarlas.", "Release hold": "Soltar", "Hold setpoints": "Retener consignas",
    "Leave auto": "Salir de automático", "hand back to the operators' setpoints at once and stay in shadow.": "devolver de inmediato las consignas de los operadores y quedar en sombra.", "Enter auto": "Pasar a automático", "requests go out by themselves inside the guardrails.": "las peticiones salen solas dentro de los límites.",
    "Recommendations before": "Recomendaciones anteriores", "Made": "Hecha", "State": "Estado", "Expected, kWh": "Previsto, kWh", "Mode of a loop": "Modo de un circuito", "Loop by loop": "Circuito a circuito", "Loop": "Circuito", "Order": "Orden", "Pin a setpoint": "Fijar una consigna",
    "keep it at a value until released; an empty value releases it.": "mantenerla en un valor hasta soltarla; un valor vacío la suelta.", "Charts are loading.": "Las gráficas se están cargando.", "forecast (p50, band p10–p90)": "previsión (p50, banda p10–p90)", "Forecast fell back to {0}: {1}": "La previsión recurrió a {0}: {1}",
    "Thermal load": "Carga térmica", "Energy": "Energía", "kWh per GPU-hour": "kWh por hora de GPU", "measured": "medido", "baseline": "referencia", "supply": "impulsión", "return": "retorno", "highest supply": "impulsión máxima", "lowest supply": "impulsión mínima", "asked": "pedido", "limit": "límite", "pinned {0}": "fijado en {0}",
    "Alarms": "Alarmas", "Critical": "Crítica", "Warning": "Aviso", "Notice": "Nota", "Since {0}.": "Desde las {0}.", "Seen by {0}.": "Vista por {0}.", "Acknowledge": "Reconocer",
    "Service gone": "Sin servicio", "What is shown below is old.": "Lo que se ve debajo es antiguo.", "Signed out": "Sesión cerrada", "Sign in to see the plant.": "Inicie sesión para ver la planta.", "No sites": "Sin centros", "The configuration names none.": "La configuración no nombra ninguno.",
    "Act now": "Actúe ya", "link down": "enlace caído", "Needs a look": "Conviene mirar", "clock stands still": "el reloj está parado", "All well": "Todo bien", "{0} site connected": "{0} centro conectado", "{0} sites connected": "{0} centros conectados",
    "IT kWh": "kWh de TI", "Cooling kWh": "kWh de refrigeración", "Losses kWh": "kWh de pérdidas", "GPU-hours": "Horas de GPU", "Beyond a limit, min": "Fuera de límite, min", "Setpoints": "Consignas", "recommended": "recomendado", "optimum": "óptimo", "total": "total",
    "Not done": "No hecho", "Not let in": "No se permite la entrada", "When": "Cuándo", "What": "Qué", "{0} points match; the first {1} are shown. More words narrow it.": "{0} puntos coinciden; se muestran los primeros {1}. Más palabras lo acotan.", "{0} points match.": "{0} puntos coinciden.",
    "setpoint": "consigna", "good": "buena", "no value yet": "aún sin valor", "This point has no value yet.": "Este punto aún no tiene valor.", "Download CSV": "Descargar CSV", "as sent": "como llega", "{0} buckets of {1}": "{0} intervalos de {1}", "No values yet.": "Aún sin valores.",
    "The service does not answer since {0}. This page tries again by itself; the plant keeps its own control.": "El servicio no responde desde las {0}. Esta página lo intenta de nuevo sola; la planta conserva su propio control.", "The service does not answer. This page tries again by itself; the plant keeps its own control.": "El servicio no responde. Esta página lo intenta de nuevo sola; la planta conserva su propio control.",
    "The plant's equipment is not known yet.": "Aún no se conoce el equipo de la planta.", "Schematic of {0}: {1} pieces of equipment, {2} racks": "Esquema de {0}: {1} equipos, {2} racks", "Schematic": "Esquema", "Plant": "Planta", "Racks, kW": "Racks, kW", "doubtful": "dudosa", "silent": "sin datos",
    "Limits and setpoints": "Límites y consignas", "Now": "Ahora", "Bounds": "Cotas", "Source": "Fuente", "site file": "fichero del centro", "site file; fixed setpoint {0}": "fichero del centro; consigna fija {0}",
    "{0}: made {1}, valid until {2}": "{0}: hecho a las {1}, válido hasta las {2}", "Racks of {0} by band": "Racks de {0} por banda", "Band 1 to 5 (1 = place here first, 5 = no room); kWh that one more GPU-hour costs; kW that may be added.": "Banda 1 a 5 (1 = asignar aquí primero, 5 = sin sitio); kWh que cuesta una hora de GPU más; kW que se pueden añadir.",
    "{0} will be passed at {1}: {2} kW must go.": "{0} se superará a las {1}: deben quitarse {2} kW.", "As a table": "Como tabla", "Rank": "Orden", "Rack": "Rack", "Class": "Clase", "Free GPUs": "GPU libres", "Marginal kWh/GPU-h": "kWh/h-GPU marginal",
  },
  ca: {
    "Compare": "Compara", "Compare {0}": "Compara {0}", "{0} points": "{0} punts", "mean": "mitjana", "max": "màx.", "min": "mín.", "marked": "marcades", "all good": "totes bones", "Time shown": "Temps mostrat", "Earlier": "Abans", "Later": "Després", "Zoom in": "Apropa", "Zoom out": "Allunya", "Newest": "El més recent", "Drag over a chart to zoom.": "Arrossegueu sobre un gràfic per apropar.",
    "Skip to the sites": "Vés als centres", "Cooling and placement": "Refrigeració i assignació", "Connecting": "Connectant", "Past": "Passat", "Sign out": "Tanca la sessió", "Language": "Llengua",
    "Fixed setpoints against recommendations": "Consignes fixes davant de recomanacions", "Placement hints": "On assignar treballs", "What operators did": "Què han fet els operadors", "Nothing yet.": "Res encara.",
    "Any point": "Qualsevol punt", "Site": "Centre", "Search": "Cerca", "words in path, name, area, unit": "paraules de la ruta, nom, zona, unitat", "Point": "Punt", "Value": "Valor", "Age": "Edat", "Quality": "Qualitat",
    "Pick a point to see its history.": "Trieu un punt per veure'n la història.", "Metrics": "Mètriques", "Health": "Estat", "Refused messages": "Missatges rebutjats", "Times are UTC, on the site's clock.": "Hores en UTC, segons el rellotge del centre.",
    "Who": "Qui", "Why": "Per què", "Cancel": "Cancel·la", "Confirm": "Confirma", "Sign in": "Inicia la sessió", "This service asks who is there.": "Aquest servei demana qui hi ha.", "Token": "Testimoni", "Days": "Dies",
    "{0} % against baseline {1} {2}": "{0} % respecte de la referència {1} {2}", "no baseline known": "sense referència coneguda", "Link": "Enllaç", "Held": "Retingut", "held": "retingut", "Mode": "Mode", "{0} old": "fa {0}", "no clock yet": "encara sense rellotge",
    "up": "actiu", "down": "caigut", "connecting": "connectant", "auto": "automàtic", "advise": "consell", "shadow": "ombra", "warming": "escalfant", "learning": "aprenent", "guarded": "protegit", "fail-safe": "a prova de fallades",
    "IT power": "Potència TI", "Cooling power": "Potència de refrigeració", "Energy now": "Energia ara", "Energy today": "Energia avui", "Readings in": "Lectures", "{0} GPUs allocated": "{0} GPU assignades", "now": "ara", "{0} refused · {1} points": "{0} rebutjades · {1} punts",
    "Recommendation for {0}": "Recomanació per a {0}", "Recommendation": "Recomanació", "None yet.": "Cap encara.", "Loading.": "Carregant.",
    "Expected over {0} h: saves {1} ± {2} kWh against the fixed setpoints, {3} kWh against holding": "Previst en {0} h: estalvia {1} ± {2} kWh respecte de les consignes fixes, {3} kWh respecte de mantenir",
    "least margin {0} to {1}": "marge mínim {0} fins a {1}", "no plan keeps every limit with its margin: this is the least violating way": "cap pla respecta tots els límits amb el seu marge: aquest és el que menys els incompleix",
    "Recommendation · {0} · made {1}, valid until {2}": "Recomanació · {0} · feta a les {1}, vàlida fins a les {2}", "waiting": "en espera", "approved": "aprovada", "published": "publicada", "in force": "en vigor", "refused": "rebutjada", "lapsed": "caducada", "superseded": "substituïda", "recorded": "registrada",
    "Setpoint": "Consigna", "From": "Des de", "Asked now": "Demanat ara", "Target": "Objectiu", "Reason": "Motiu", "Withheld by the checker": "Retingut pel verificador", "Send recommendation {0} to {1}.": "Envia la recomanació {0} a {1}.",
    "Approve": "Aprova", "Release the hold": "Deixa anar la retenció", "setpoints may move again.": "les consignes es poden tornar a moure.", "Hold": "Reté", "keep the setpoints as they are until released.": "manté les consignes com estan fins que es deixin anar.", "Release hold": "Deixa anar", "Hold setpoints": "Reté les consignes",
    "Leave auto": "Surt d'automàtic", "hand back to the operators' setpoints at once and stay in shadow.": "torna de seguida les consignes dels operadors i queda en ombra.", "Enter auto": "Passa a automàtic", "requests go out by themselves inside the guardrails.": "les peticions surten soles dins dels límits.",
    "Recommendations before": "Recomanacions anteriors", "Made": "Feta", "State": "Estat", "Expected, kWh": "Previst, kWh", "Mode of a loop": "Mode d'un circuit", "Loop by loop": "Circuit a circuit", "Loop": "Circuit", "Order": "Ordre", "Pin a setpoint": "Fixa una consigna",
    "keep it at a value until released; an empty value releases it.": "la manté en un valor fins que es deixi anar; un valor buit la deixa anar.", "Charts are loading.": "Les gràfiques s'estan carregant.", "forecast (p50, band p10–p90)": "previsió (p50, banda p10–p90)", "Forecast fell back to {0}: {1}": "La previsió ha recorregut a {0}: {1}",
    "Thermal load": "Càrrega tèrmica", "Energy": "Energia", "kWh per GPU-hour": "kWh per hora de GPU", "measured": "mesurat", "baseline": "referència", "supply": "impulsió", "return": "retorn", "highest supply": "impulsió màxima", "lowest supply": "impulsió mínima", "asked": "demanat", "limit": "límit", "pinned {0}": "fixat a {0}",
    "Alarms": "Alarmes", "Critical": "Crítica", "Warning": "Avís", "Notice": "Nota", "Since {0}.": "Des de les {0}.", "Seen by {0}.": "Vista per {0}.", "Acknowledge": "Reconeix",
    "Service gone": "Sense servei", "What is shown below is old.": "El que es veu a sota és antic.", "Signed out": "Sessió tancada", "Sign in to see the plant.": "Inicieu la sessió per veure la planta.", "No sites": "Sense centres", "The configuration names none.": "La configuració no n'anomena cap.",
    "Act now": "Actueu ara", "link down": "enllaç caigut", "Needs a look": "Cal mirar-ho", "clock stands still": "el rellotge està aturat", "All well": "Tot bé", "{0} site connected": "{0} centre connectat", "{0} sites connected": "{0} centres connectats",
    "IT kWh": "kWh de TI", "Cooling kWh": "kWh de refrigeració", "Losses kWh": "kWh de pèrdues", "GPU-hours": "Hores de GPU", "Beyond a limit, min": "Fora de límit, min", "Setpoints": "Consignes", "recommended": "recomanat", "optimum": "òptim", "total": "total",
    "Not done": "No fet", "Not let in": "No s'hi permet l'entrada", "When": "Quan", "What": "Què", "{0} points match; the first {1} are shown. More words narrow it.": "{0} punts coincideixen; es mostren els primers {1}. Més paraules ho acoten.", "{0} points match.": "{0} punts coincideixen.",
    "setpoint": "consigna", "good": "bona", "no value yet": "encara sense valor", "This point has no value yet.": "Aquest punt encara no té valor.", "Download CSV": "Baixa CSV", "as sent": "com arriba", "{0} buckets of {1}": "{0} intervals de {1}", "No values yet.": "Encara sense valors.",
    "The service does not answer since {0}. This page tries again by itself; the plant keeps its own control.": "El servei no respon des de les {0}. Aquesta pàgina ho torna a provar sola; la planta conserva el seu propi control.", "The service does not answer. This page tries again by itself; the plant keeps its own control.": "El servei no respon. Aquesta pàgina ho torna a provar sola; la planta conserva el seu propi control.",
    "The plant's equipment is not known yet.": "Encara no es coneix l'equip de la planta.", "Schematic of {0}: {1} pieces of equipment, {2} racks": "Esquema de {0}: {1} equips, {2} racks", "Schematic": "Esquema", "Plant": "Planta", "Racks, kW": "Racks, kW", "doubtful": "dubtosa", "silent": "sense dades",
    "Limits and setpoints": "Límits i consignes", "Now": "Ara", "Bounds": "Cotes", "Source": "Font", "site file": "fitxer del centre", "site file; fixed setpoint {0}": "fitxer del centre; consigna fixa {0}",
    "{0}: made {1}, valid until {2}": "{0}: fet a les {1}, vàlid fins a les {2}", "Racks of {0} by band": "Racks de {0} per banda", "Band 1 to 5 (1 = place here first, 5 = no room); kWh that one more GPU-hour costs; kW that may be added.": "Banda 1 a 5 (1 = assigna aquí primer, 5 = sense lloc); kWh que costa una hora de GPU més; kW que s'hi poden afegir.",
    "{0} will be passed at {1}: {2} kW must go.": "{0} se superarà a les {1}: cal treure'n {2} kW.", "As a table": "Com a taula", "Rank": "Ordre", "Rack": "Rack", "Class": "Classe", "Free GPUs": "GPU lliures", "Marginal kWh/GPU-h": "kWh/h-GPU marginal",
  },
};
const LOCALES = { en: "en-GB", es: "es-ES", ca: "ca-ES" };
const LANGUAGE = (() => {
  const asked = [localStorage.getItem("language"), ...(navigator.languages || [])].filter(Boolean).map((l) => l.slice(0, 2));
  return asked.find((l) => LOCALES[l]) || "en";
})();
const LOCALE = LOCALES[LANGUAGE];
function t(english, ...values) {
  const text = (WORDS[LANGUAGE] || {})[english] ?? english;
  return text.replace(/\{(\d)\}/g, (_, i) => String(values[i] ?? ""));
}
// Sets the words that stand in the document itself.
function speak() {
  document.documentElement.lang = LANGUAGE;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t || node.textContent.trim());
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.placeholder);
  const picker = document.getElementById("language");
  picker.value = LANGUAGE;
  picker.addEventListener("change", () => { localStorage.setItem("language", picker.value); location.reload(); });
}
