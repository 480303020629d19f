/** How large a template and its parts may be. */

/** Words and signs of a template in YAML; each takes some 350 bytes and a microsecond to read. */
export const lexemesLimit = 8_000_000;

/** Levels of maps and lists; more is a mistake or an attack, and the walks over templates are recursive. */
export const nestingLimit = 100;

/** Values that YAML aliases, or objects shared within a document built in code, may expand to. */
export const repeatedNodesLimit = 1_000_000;

/** Characters of a name of a resource, parameter or output. */
export const nameLengthLimit = 255;

/** Cycles that are reported; a template with more has one cause more likely than many. */
export const cyclesLimit = 20;

/** Characters of a text that str_replace or list_join makes. */
export const textLengthLimit = 16 * 1024 * 1024;
