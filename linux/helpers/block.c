// SPDX-License-Identifier: GPL-2.0
/* Inline functions of blk-mq.h, blkdev.h and bio.h. */

#include <linux/blk-mq.h>
#include <linux/blkdev.h>

void *oxen_helper_blk_mq_rq_to_pdu(struct request *rq)
{
	return blk_mq_rq_to_pdu(rq);
}

/* Stores the next piece of *bio and its successors that lies within one page. A discard has none, only a size. */
bool oxen_helper_bio_next_piece(struct bio **bio, struct bvec_iter *iter,
				struct bio_vec *piece)
{
	while (*bio) {
		if (iter->bi_size && bio_has_data(*bio)) {
			*piece = bio_iter_iovec(*bio, *iter);
			bio_advance_iter_single(*bio, iter, piece->bv_len);
			return true;
		}
		*bio = (*bio)->bi_next;
		if (*bio)
			*iter = (*bio)->bi_iter;
	}
	return false;
}

struct queue_limits oxen_helper_queue_limits_start_update(struct request_queue *q)
{
	return queue_limits_start_update(q);
}
