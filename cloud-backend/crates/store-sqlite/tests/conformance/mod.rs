//! What every store of the backend must do, written against the ports alone: one function a behaviour.
//! A store runs the suite by a [`Laboratory`] that opens it, again and again, on the same data, and by
//! [`conformance_suite`], which lists the functions. The suite of `store-postgres` is this one.

#![allow(dead_code, reason = "a test file of one store may leave out what it cannot do")]

pub(crate) mod alarms;
pub(crate) mod configuration;
pub(crate) mod enrolment;
pub(crate) mod fixture;
pub(crate) mod identity;
pub(crate) mod ingest;
pub(crate) mod lifecycle;
pub(crate) mod moves;
pub(crate) mod reads;
pub(crate) mod rollout;
pub(crate) mod shelf;
pub(crate) mod tenants;
pub(crate) mod tiers;

use std::sync::Arc;

use fleet::FleetStore;
use ingestion::IngestStore;
use tenancy::TenancyStore;
use tiering::TierStore;

/// Opens a store. Each call opens the same data anew; a store that was opened before may be gone.
pub(crate) trait Laboratory {
    type Store: IngestStore + FleetStore + TenancyStore + TierStore + 'static;

    fn open(&self) -> Arc<Self::Store>;
}

/// Gives a macro of the store all functions of the suite, by module.
macro_rules! conformance_suite {
    ($with:ident) => {
        $with! {
            configuration::{
                versions_count_up_and_stay_as_they_were,
                of_two_who_edit_at_a_time_the_second_is_told,
                each_gateway_stands_where_its_last_report_says,
                the_newest_version_of_each_gateway_that_has_one_is_told_and_no_other_tenants,
            }
            enrolment::{
                an_invitation_makes_a_gateway_once,
                a_late_code_and_a_replaced_one_are_worth_nothing,
                a_new_enrolment_and_a_revocation_end_what_was_there,
            }
            ingest::{
                a_batch_is_stored_and_acknowledged_once_it_is_durable,
                a_duplicate_is_counted_and_acknowledged_again,
                a_batch_above_a_hole_is_stored_and_the_acknowledgement_waits,
                a_gap_record_lets_the_acknowledgement_pass,
                a_batch_that_was_given_up_and_comes_after_all_is_stored,
                samples_dropped_before_they_were_a_batch_are_in_the_ledger,
                an_unreadable_body_is_put_aside_and_passed,
                garbage_is_counted_under_no_epoch_and_never_acknowledged,
                epochs_and_gateways_have_sequences_of_their_own,
                hello_answers_where_every_stream_stands,
                what_a_gateway_no_longer_holds_is_a_gap_and_not_a_dead_end,
                a_declared_gap_takes_the_place_of_one_that_was_concluded,
                a_stream_full_of_holes_refuses_a_batch_without_storing_it,
                a_series_number_keeps_its_tag_within_an_epoch,
                an_unknown_tenant_is_an_error_and_no_new_place,
            }
            alarms::{
                a_transition_is_in_the_journal_exactly_as_it_was_decided,
                everything_that_a_transition_says_comes_back,
                whatever_characters_a_gateway_writes_come_back,
                an_alarm_that_is_hidden_is_listed_as_such_until_it_comes_out,
                an_occurrence_that_a_later_one_followed_is_not_active,
                an_alarm_is_active_until_its_return_is_stored,
                an_alarm_that_is_configured_no_longer_is_closed,
                transitions_that_arrive_in_the_wrong_order_fold_to_the_same_alarm,
                pages_of_a_list_neither_overlap_nor_skip,
                alarms_of_an_epoch_that_the_gateway_left_are_not_active,
            }
            reads::{
                samples_are_found_by_machine_tag_and_time,
                samples_of_hundreds_of_batches_are_all_found_in_order,
                late_and_long_batches_are_in_their_place_in_time,
                a_tag_keeps_its_history_over_epochs_with_other_series_numbers,
                a_tag_that_was_removed_keeps_its_history,
                a_reduced_answer_covers_more_samples_than_it_may_hold,
                the_latest_samples_are_the_newest_in_time_and_not_in_arrival,
                a_gateway_is_listed_from_its_registration_on,
            }
            rollout::{
                a_rollout_and_what_happened_to_it_are_there_after_opening_again,
                a_gateway_is_in_one_unfinished_rollout_at_most,
                of_two_who_change_a_rollout_at_a_time_the_second_looks_again,
                each_wish_has_the_next_number_and_the_last_report_stands,
            }
            tenants::{
                what_was_added_is_there_after_opening_again,
                a_second_one_of_the_same_name_is_refused,
                nothing_belongs_to_a_tenant_or_user_that_is_not_there,
                a_session_ends_by_removal_by_expiry_and_by_too_many_newer_ones,
                tenants_do_not_see_each_other,
            }
            lifecycle::{
                versions_of_a_policy_count_up_and_the_second_of_two_authors_is_told,
                a_hold_is_in_force_until_its_release_and_both_stay_on_record,
                one_has_the_turn_until_it_is_given_back_or_over,
                st14_the_journal_ends_by_days_and_what_is_active_stays,
            }
            moves::{
                st3_what_a_run_does_is_what_its_preview_said,
                st4_nothing_is_dropped_whose_object_is_damaged,
                st4_a_run_that_is_killed_at_any_call_loses_and_doubles_nothing,
                a_hold_keeps_a_period_and_a_restore_brings_it_back_whole,
                st10_a_month_of_small_objects_becomes_one_without_loss,
            }
            tiers::{
                a_batch_is_either_a_batch_or_sealed_and_shown_once_in_both,
                of_two_who_seal_at_a_time_one_is_told_and_wrote_nothing,
                a_sealed_batch_that_comes_again_is_a_duplicate_gap_or_not,
                in6_a_batch_that_comes_after_all_while_its_stream_is_sealed_is_not_taken_for_sealed,
                in5_two_samples_of_one_instant_are_both_kept_through_sealing_and_merging,
                st8_late_data_are_merged_so_that_a_minute_has_one_segment,
                segments_are_read_by_range_with_or_without_bodies,
                unsealed_batches_are_found_by_time_in_all_epochs,
                a_tag_keeps_its_number_through_epochs_and_catalogues,
                an_hour_is_due_until_its_rollup_has_seen_the_last_change,
                an_unknown_tenant_has_no_tiers,
                in6_the_latest_samples_are_the_same_after_sealing_and_late_data_do_not_move_them,
                st6_a_backlog_is_sealed_in_waves_without_a_loss_and_waits_for_its_catalogue,
                rollups_of_hours_follow_what_is_sealed,
            }
        }
    };
}
pub(crate) use conformance_suite;
