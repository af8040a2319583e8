#include "vm/library.h"

#include "vm/finalizer.h"
#include "vm/loader.h"
#include "vm/lstring.h"
#include "vm/ltable.h"

void vm_library_open(lua_State *L)
{
    vm_string_open(L);
    vm_table_open(L);
    vm_finalizers_open(L);
    vm_loader_open(L);
}
