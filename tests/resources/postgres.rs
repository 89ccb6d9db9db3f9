//! The same claims with the state in PostgreSQL: who gets a lock, and when,
//! does not depend on where it is kept.

use crate::support::on_postgres;

macro_rules! on_postgres {
    ($($module:ident: $($claim:ident)*;)*) => {
        $(
            mod $module {
                $(
                    #[test]
                    fn $claim() {
                        super::on_postgres(crate::resources::$module::$claim);
                    }
                )*
            }
        )*
    };
}

on_postgres! {
    acquire:
        a_free_resource_is_acquired_and_a_held_one_is_refused
        the_holder_itself_is_refused_too
        every_spelling_of_the_path_is_the_same_resource
        each_grant_has_a_higher_token_whatever_the_resource
        locks_and_tokens_go_on_after_a_kill
        refused_requests_change_nothing_in_the_database;
    release:
        only_the_holders_key_releases
        a_released_row_stays_with_its_token
        a_resource_is_acquired_and_released_ever_again
        a_release_is_done_even_if_its_sender_does_not_wait_for_the_answer;
    expiry:
        a_lock_is_never_free_before_its_ttl_and_free_soon_after
        an_expired_lock_cannot_be_released_and_its_holder_is_nobody
        the_view_tells_the_truth_before_a_sweep_and_the_table_after_it
        a_sweep_frees_no_lock_that_holds
        the_longest_ttl_and_timeout_are_accepted
        a_lock_whose_ttl_ended_while_the_server_was_down_is_free;
    waiting:
        a_wait_ends_with_408_at_its_deadline_and_never_before
        who_timed_out_is_not_in_line_any_more
        a_timeout_of_zero_or_null_does_not_wait
        a_release_hands_over_in_the_same_commit
        an_expiry_hands_over_at_that_instant
        two_hundred_waiters_are_served_in_the_order_in_which_they_came
        a_plain_put_never_overtakes_those_who_wait
        a_plain_put_at_the_instant_of_expiry_does_not_overtake_either
        the_ttl_of_a_waiter_counts_from_its_grant;
    disconnect:
        fifty_who_left_are_passed_over_and_the_one_behind_them_is_served_at_once
        the_living_one_is_served_even_if_those_before_it_leave_during_the_release
        whoever_leaves_as_it_is_granted_has_read_the_answer_or_gives_the_lock_back
        a_half_closed_client_counts_as_gone
        whoever_cannot_be_answered_any_more_does_not_keep_a_plain_lock;
    drain:
        sigterm_tells_all_who_wait_and_ends_with_success
        sigint_tells_all_who_wait_and_ends_with_success
        what_is_being_committed_is_finished_and_answered
        a_second_signal_ends_at_once
        idle_connections_do_not_delay_the_stop;
    limits:
        one_waiter_too_many_for_a_resource_is_answered_429
        one_waiter_too_many_in_all_is_answered_503
        with_no_room_for_waiters_nobody_waits_and_the_rest_works
        one_operation_too_many_in_the_queue_is_answered_503
        one_connection_too_many_is_answered_503_and_closed
        a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not
        a_chunked_body_is_counted_as_it_comes;
}
