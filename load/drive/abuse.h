/* What no well-behaved client does. */
#ifndef LOAD_DRIVE_ABUSE_H
#define LOAD_DRIVE_ABUSE_H

#include "load/drive/crowd.h"

void load_abuse_reset(struct load_client *c);         /* resets the stream of CONNECT */
void load_abuse_vanish(struct load_client *c);        /* its connection is forgotten, and it connects anew */
void load_abuse_stop_renewing(struct load_client *c); /* its services are not renewed any more */
/* gives no more credit for what it receives, but lives and answers pings */
void load_abuse_stop_reading(struct load_client *c);
int load_abuse_open_streams(struct load_client *c, size_t count); /* with half a frame on each; returns how many it got */

#endif
