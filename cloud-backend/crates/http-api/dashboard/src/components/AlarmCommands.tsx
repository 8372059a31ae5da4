/**
 * Commands to alarms: a button in a row opens one dialog for whatever is inside this component. The dialog is not
 * part of the row, because the row goes as soon as the command has done its work.
 */
import { Button } from "@mantine/core";
import { createContext, useContext, useState, type ReactNode } from "react";
import { useSession } from "../app/Gate";
import type { Permission } from "../api/types";
import { actionsFor } from "../lib/commands";
import { t } from "../text";
import { AlarmDialog, type AlarmTarget } from "./AlarmDialog";

const Choose = createContext<(target: AlarmTarget) => void>(() => {});

export const useMay = (permission: Permission): boolean => useSession().permissions.includes(permission);

export function AlarmCommands({ tenant, children }: { tenant: string; children: ReactNode }) {
  const [target, setTarget] = useState<AlarmTarget | null>(null);
  return (
    <Choose value={setTarget}>
      {children}
      {target && <AlarmDialog tenant={tenant} target={target} close={() => setTarget(null)} />}
    </Choose>
  );
}

/** Named by what the state asks for first. */
export function AlarmButton({ target }: { target: AlarmTarget }) {
  const choose = useContext(Choose);
  const [usual] = actionsFor(target.state);
  if (usual === undefined) return null;
  return (
    <Button size="xs" variant="default" aria-haspopup="dialog" aria-label={`${t.command.action[usual]}: ${target.message}`} onClick={() => choose(target)}>
      {t.command.action[usual]}…
    </Button>
  );
}
