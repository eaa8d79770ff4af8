/* Logging in at the page: by a link, or by the name and password of a user; the cookie that is given for it. */
#ifndef DAEMON_HTTP_LOGIN_H
#define DAEMON_HTTP_LOGIN_H

#include "daemon/http/request.h"

/* Whom the request's cookie stands for: struct http.cookie. Views, until the next login or request. */
bool http_cookie_login(const struct http_request *r, struct http_login *ret_login, bool *ret_operator);
/* The access file was read again: sessions of users that are gone, or have another password, and of operators by link end. */
void http_judge_logins(struct http *h);

#endif
