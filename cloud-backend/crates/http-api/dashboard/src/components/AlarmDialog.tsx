/** What a person tells an alarm: action, time, comment; then what the gateway says to it. */
import { Button, NativeSelect, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useId, useRef, useState, type FormEvent } from "react";
import { commandStatus, giveCommand, machineQuery, tenantKey } from "../api/queries";
import type { Alarm, AlarmAction, AlarmCommand } from "../api/types";
import { actionsFor, carryOut, commandId, mayRepeat, needsComment, needsOccurrence, shelfTimes, type Outcome } from "../lib/commands";
import { formatDuration } from "../lib/format";
import { t } from "../text";
import css from "./AlarmDialog.module.css";

/** The alarm as the person saw it. */
export type AlarmTarget = Pick<Alarm, "gateway" | "machine" | "alarm" | "occurrence" | "state" | "message">;

/** Until the longest time is known. */
const SHORTEST_SHELF = 900;
const ASK_AGAIN_MS = 1_000;
/** What a text may have on the wire, in letters that take up to four bytes. */
const COMMENT_MAX = 250;

interface DialogProps {
  tenant: string;
  target: AlarmTarget;
  close: () => void;
}

/** A command and the id under which it is done once. */
interface Given {
  id: string;
  command: AlarmCommand;
}

export function AlarmDialog({ tenant, target, close }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const attempt = useCommand(tenant, target);
  const shut = () => dialog.current?.close();
  const outcome = attempt.data;
  return (
    <dialog ref={dialog} className={css["dialog"]} aria-labelledby={heading} onClose={close}>
      <h2 id={heading}>{target.message}</h2>
      <p className="dim">{t.command.about(target.machine, t.alarmState[target.state])}</p>
      {outcome === undefined || outcome.kind === "failed" ? (
        <CommandForm tenant={tenant} target={target} busy={attempt.isPending} submit={attempt.mutate} cancel={shut} />
      ) : (
        <div className={css["buttons"]}>
          {mayRepeat(outcome) && (
            <Button variant="default" loading={attempt.isPending} onClick={() => attempt.variables && attempt.mutate(attempt.variables)}>
              {t.command.repeat}
            </Button>
          )}
          <Button onClick={shut} autoFocus>
            {t.command.close}
          </Button>
        </div>
      )}
      <p role="status" className={css["outcome"]} data-outcome={attempt.isPending ? "waiting" : outcome?.kind}>
        {attempt.isPending ? t.command.waiting : outcome && words(outcome)}
      </p>
    </dialog>
  );
}

function useCommand(tenant: string, { gateway, machine, alarm }: AlarmTarget) {
  const queryClient = useQueryClient();
  return useMutation({
    mutationFn: ({ id, command }: Given) =>
      carryOut({
        give: () => giveCommand({ tenant, gateway, machine, alarm }, id, command),
        ask: () => commandStatus(tenant, id),
        pause: () => new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS)),
      }),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: [...tenantKey(tenant), "alarms"] }),
    networkMode: "always",
  });
}

function words(outcome: Outcome): string {
  if (outcome.kind === "refused") return t.command.refused(outcome.reason);
  return outcome.kind === "failed" ? t.command.failed(outcome.reason) : t.command.outcome[outcome.kind];
}

interface FormProps {
  tenant: string;
  target: AlarmTarget;
  busy: boolean;
  submit: (given: Given) => void;
  cancel: () => void;
}

function CommandForm({ tenant, target, busy, submit, cancel }: FormProps) {
  const actions = actionsFor(target.state);
  const [action, setAction] = useState<AlarmAction | undefined>(actions[0]);
  const definitions = useQuery(machineQuery(tenant, target.gateway, target.machine)).data?.alarms;
  const secondsMax = definitions?.find((each) => each.id === target.alarm)?.shelve_seconds_max ?? SHORTEST_SHELF;
  const send = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (action === undefined) return;
    const form = new FormData(event.currentTarget);
    const command: AlarmCommand = {
      action,
      occurrence: needsOccurrence(action) ? target.occurrence : null,
      duration_s: action === "shelve" ? Number(form.get("duration")) : null,
      comment: String(form.get("comment")).trim(),
    };
    submit({ id: commandId(), command });
  };
  return (
    <form onSubmit={send} className={css["form"]}>
      <fieldset className={css["actions"]} disabled={busy}>
        <legend>{t.command.what}</legend>
        {actions.map((each) => (
          <label key={each}>
            <input type="radio" name="action" value={each} checked={each === action} onChange={() => setAction(each)} />
            <span>
              {t.command.action[each]}
              <small className="dim">{t.command.meaning[each]}</small>
            </span>
          </label>
        ))}
      </fieldset>
      {action === "shelve" && (
        <NativeSelect
          name="duration"
          label={t.command.duration}
          disabled={busy}
          data={shelfTimes(secondsMax).map((seconds) => ({ value: String(seconds), label: formatDuration(seconds * 1_000) }))}
        />
      )}
      <Textarea
        name="comment"
        label={action && needsComment(action) ? t.command.reason : t.command.comment}
        required={action !== undefined && needsComment(action)}
        withAsterisk={false}
        maxLength={COMMENT_MAX}
        rows={2}
        disabled={busy}
      />
      <div className={css["buttons"]}>
        <Button variant="default" onClick={cancel}>
          {t.command.cancel}
        </Button>
        <Button type="submit" loading={busy}>
          {action && t.command.action[action]}
        </Button>
      </div>
    </form>
  );
}
