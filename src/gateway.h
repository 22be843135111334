/*
 * gateway.h
 *		Asking the gateway: what gateway.c and action_answer.c share.
 */
#ifndef OG_GATEWAY_H
#define OG_GATEWAY_H

#include "action_private.h"

/* All of them with SPI connected. */
extern void og_gateway_ask_person(const OgCase *c, const char *why);
extern char *og_gateway_used_up(int asks);

#endif							/* OG_GATEWAY_H */
