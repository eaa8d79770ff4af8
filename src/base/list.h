/* Intrusive doubly linked list. An unlinked node points at itself. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
  struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l) { l->prev = l->next = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert(struct list *at, struct list *n) { /* before at: with the head, at the end */
  n->prev = at->prev;
  n->next = at;
  at->prev->next = n;
  at->prev = n;
}
static inline void list_append(struct list *head, struct list *n) { list_insert(head, n); }
static inline void list_prepend(struct list *head, struct list *n) { list_insert(head->next, n); }
static inline void list_remove(struct list *n) { /* harmless on an unlinked node */
  n->prev->next = n->next;
  n->next->prev = n->prev;
  list_init(n);
}

#define list_for(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_safe(it, head)                                                                                                \
  for (struct list *it = (head)->next, *it##_n = it->next; it != (head); it = it##_n, it##_n = it->next)

#endif
