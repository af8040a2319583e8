/* mr_fields.h - the text methods about fields: split, field, fields, num. */
#ifndef PERI_MODULES_MR_FIELDS_H
#define PERI_MODULES_MR_FIELDS_H

#include <lua.h>

/* Methods: rec:split([separator]), rec:field(n [, separator]), rec:fields(separator, n...) and
 * rec:num([n [, separator]]). */
int mr_fields_split(lua_State *L);
int mr_fields_field(lua_State *L);
int mr_fields_fields(lua_State *L);
int mr_fields_num(lua_State *L);

#endif
