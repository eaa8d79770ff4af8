/* libmacula is made of the layers below; a library target wants one source of its own. */
extern int macula_empty_translation_unit;
