/* Intrusive doubly linked list. An unlinked node points at itself. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list {
  struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l) { l->prev = l->next = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert(struct list *at, struct list *n) { /* before at: with the head, at the end */
  assert(at->prev->next == at);
  n->prev = at->prev;
  n->next = at;
  at->prev->next = n;
#ifndef __clang__ /* a mark on the stack is taken out again, which it does not see */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdangling-pointer"
#endif
  at->prev = n;
#ifndef __clang__
#pragma GCC diagnostic pop
#endif
}
static inline void list_append(struct list *head, struct list *n) { list_insert(head, n); }
static inline void list_prepend(struct list *head, struct list *n) { list_insert(head->next, n); }
static inline void list_remove(struct list *n) { /* harmless on an unlinked node */
  assert(n->prev->next == n && n->next->prev == n);
  n->prev->next = n->next;
  n->next->prev = n->prev;
  list_init(n);
}

/* Appends all of `from`, which is empty then. */
static inline void list_move(struct list *from, struct list *to) {
  if (list_empty(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  list_init(from);
}

/* Whether the links of all nodes agree. Ends, since a node that is met twice would have two nodes before it. */
static inline bool list_holds(const struct list *head) {
  const struct list *l = head;
  do {
    if (!l->next || l->next->prev != l) return false;
    l = l->next;
  } while (l != head);
  return true;
}
static inline uint32_t list_count(const struct list *head) {
  uint32_t n = 0;
  for (const struct list *l = head->next; l != head; l = l->next) n++;
  return n;
}
/* Whether it holds, and holds so many. */
static inline bool list_has(const struct list *head, uint32_t count) { return list_holds(head) && list_count(head) == count; }

#define list_for(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_safe(it, head)                                                                                                \
  for (struct list *it = (head)->next, *it##_n = it->next; it != (head); it = it##_n, it##_n = it->next)

#endif
