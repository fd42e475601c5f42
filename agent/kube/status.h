/*
 * What the API server says when it does not do what was asked: metav1.Status.
 *
 * It may come as the answer to a request, or as the object of an ERROR event. For
 * decisions only its numbers and known words count; its texts are for people.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

struct kube_status {
	uint16_t code;     /* as in HTTP; 0: not known */
	char reason[48];   /* "Expired"; "": none */
	char message[192]; /* one line of visible characters */
	uint32_t retry_after_s;
	bool expired;   /* the version or the page is no longer there */
	bool too_large; /* the version is not there yet */
};

/* Fields of a wrong type count as absent; an object that is no Status at all says nothing. */
void kube_status_decode(struct json_object *object, struct kube_status *status);

/* Of an answer: its code, and what the body says if it is a Status or plain text. */
void kube_status_of_answer(uint16_t code, const char *body, size_t len, struct kube_status *status);

/* "410 Expired: too old resource version" */
void kube_status_format(const struct kube_status *status, char *out, size_t size);

/*
 * Text of unknown origin as one line: what is not visible becomes a blank, what is no
 * character '?', blanks in a row become one. Cut between characters.
 */
void kube_text_line(const char *text, size_t len, char *out, size_t size);
