/* list.h - intrusive doubly linked list: the links live in the members, so nothing is allocated.
 *
 * A list is a link that points to itself when empty. A link is in at most one list. */
#ifndef PERI_BASE_LIST_H
#define PERI_BASE_LIST_H

#include <stdbool.h>

struct peri_list {
    struct peri_list *next;
    struct peri_list *prev;
};

/* Makes list empty. */
static inline void peri_list_init(struct peri_list *list)
{
    list->next = list;
    list->prev = list;
}

/* True when nothing is linked to list. */
static inline bool peri_list_is_empty(const struct peri_list *list)
{
    return list->next == list;
}

/* Adds link at the end of list. */
static inline void peri_list_append(struct peri_list *list, struct peri_list *link)
{
    link->next = list;
    link->prev = list->prev;
    list->prev->next = link;
    list->prev = link;
}

/* Moves all links of from to the end of list; from is empty then. */
static inline void peri_list_append_all(struct peri_list *list, struct peri_list *from)
{
    if (peri_list_is_empty(from))
        return;
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    peri_list_init(from);
}

/* Takes link out of its list; doing so again changes nothing. */
static inline void peri_list_remove(struct peri_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    peri_list_init(link);
}

#endif
